//! Into a call and out of it.

use super::{ERESTART_RESTARTBLOCK, Ptrace, RESTART_CODES, RETRIES, Stopped, set_args};
use crate::replay::backend::{At, Backend as _, BackendError, Call, Result};
use crate::sys::ptrace::{self, Pid, Regs, Resume, Stop};
use crate::sys::syscall_instruction;

impl Ptrace {
    /// Takes the task to the entry of the call `nr(args)`. Returns the registers that it had.
    pub(super) fn enter(&mut self, pid: Pid, nr: i32, args: [u64; 6], doing: &'static str) -> Result<Regs> {
        let ip = match self.at(pid) {
            At::Call(call) => call.ip - syscall_instruction::BYTES,
            At::User => self.gadget(pid)?,
            at => return Err(BackendError::Unexpected { pid, stop: format!("{at:?}"), doing }),
        };
        let task = self.task_mut(pid)?;
        let before = task.regs;
        task.dirty = true;
        if task.stop == Stopped::Entry && matches!(task.at, At::Call(_)) {
            set_args(&mut task.regs, args);
            task.regs.orig_rax = i64::from(nr).cast_unsigned();
            return Ok(before);
        }
        self.pass_exit(pid, doing)?;
        let task = self.task_mut(pid)?;
        task.regs.rip = ip;
        task.regs.rax = i64::from(nr).cast_unsigned();
        set_args(&mut task.regs, args);
        // No restart of another call on the way out.
        task.regs.orig_rax = u64::MAX;
        task.dirty = true;
        match self.resume_past_signals(pid, Resume::Syscall)? {
            Stop::Syscall => {
                self.task_mut(pid)?.stop = Stopped::Entry;
                Ok(before)
            }
            stop => Err(self.unexpected(pid, stop, doing)),
        }
    }

    /// From the entry of a call that is not to be made to its exit.
    pub(super) fn pass_exit(&mut self, pid: Pid, doing: &'static str) -> Result<()> {
        let task = self.task_mut(pid)?;
        if task.stop == Stopped::Outside {
            return Ok(());
        }
        let before = task.regs;
        task.regs.orig_rax = u64::MAX;
        task.dirty = true;
        self.resume(pid, Resume::Syscall, 0)?;
        match self.wait(pid)? {
            Stop::Syscall => {}
            stop => return Err(self.unexpected(pid, stop, doing)),
        }
        let task = self.task_mut(pid)?;
        task.regs = before;
        task.dirty = true;
        task.stop = Stopped::Outside;
        Ok(())
    }

    /// From a call's entry to its exit: what it returned.
    pub(super) fn leave(&mut self, pid: Pid, doing: &'static str) -> Result<Regs> {
        self.resume(pid, Resume::Syscall, 0)?;
        match self.wait(pid)? {
            Stop::Syscall => {
                self.task_mut(pid)?.stop = Stopped::Outside;
                Ok(ptrace::regs(pid)?)
            }
            stop => Err(self.unexpected(pid, stop, doing)),
        }
    }

    /// Makes the call that a task stands at, again while signals keep it from beginning: a fork does not begin with a signal
    /// pending. Returns the first stop of another kind.
    pub(super) fn make_again(&mut self, pid: Pid, call: &Call, doing: &'static str) -> Result<Stop> {
        for _ in 0..RETRIES {
            let before = self.enter(pid, call.nr, call.args, doing)?;
            self.resume(pid, Resume::Syscall, 0)?;
            let stop = self.wait(pid)?;
            if stop != Stop::Syscall {
                return Ok(stop);
            }
            let ret = ptrace::regs(pid)?.rax.cast_signed();
            let task = self.task_mut(pid)?;
            task.stop = Stopped::Outside;
            task.regs = before;
            task.dirty = true;
            if !RESTART_CODES.contains(&ret) {
                return Err(BackendError::Unexpected { pid, stop: format!("the result {ret}"), doing });
            }
        }
        Err(BackendError::Unexpected { pid, stop: "signals".to_owned(), doing })
    }

    /// From the stop within an exec to the exit of that call, before the new image's first instruction. Without it, the next run to
    /// a call's entry would end here.
    pub(super) fn leave_exec(&mut self, pid: Pid) -> Result<Regs> {
        ptrace::resume(pid, Resume::Syscall, 0)?;
        match self.wait(pid)? {
            Stop::Syscall => Ok(ptrace::regs(pid)?),
            stop => Err(self.unexpected(pid, stop, "leave an exec")),
        }
    }

    /// Makes the call that a task stands at with other arguments, and interrupts it before it can wait.
    pub(super) fn enter_interrupted(&mut self, pid: Pid, args: [u64; 6]) -> Result<i64> {
        let doing = "begin a wait";
        let At::Call(call) = self.at(pid) else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", self.at(pid)), doing });
        };
        let before = self.enter(pid, call.nr, args, doing)?;
        // Asks for one more stop, for which the call will not wait. The stop at its exit is one.
        ptrace::interrupt(pid)?;
        let ret = self.leave(pid, doing)?.rax.cast_signed();
        let task = self.task_mut(pid)?;
        task.regs = before;
        task.dirty = true;
        if ret == ERESTART_RESTARTBLOCK {
            let nr = libc::SYS_restart_syscall as i32;
            self.set_at(pid, At::Call(Call { nr, ..call }))?;
        }
        Ok(ret)
    }

    /// A `syscall` instruction in the task's memory.
    fn gadget(&mut self, pid: Pid) -> Result<u64> {
        if let Some(found) = self.task(pid)?.gadget {
            return Ok(found);
        }
        let fail = |source| BackendError::Io { what: "looking for a system call instruction", pid, source };
        let found = syscall_instruction::find(pid).map_err(fail)?;
        self.task_mut(pid)?.gadget = Some(found);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::backend::Expect;
    use crate::replay::engine::{Engine, Pending};
    use crate::replay::last_pid::LastPid;
    use crate::replay::ptrace::twins::Twins;
    use crate::replay::wait::Wait;
    use std::io::{Read as _, Write as _};
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    const HOUR: [u64; 2] = [3600, 0];
    const MOMENT: [u64; 2] = [0, 20_000_000];

    /// A task that stands where it would sleep for an hour, and that call.
    #[expect(clippy::zombie_processes, reason = "the caller ends it and waits for it")]
    fn sleeper() -> (Ptrace, Child, Call) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo; read line; exec sleep 3600"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        // Its own image is in place before it says so: the next one is the sleeper's.
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let pid = child.id().cast_signed();
        let mut backend = Ptrace::new();
        backend.seize(pid).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        backend.wait_first_image(pid).unwrap();
        loop {
            let At::Call(call) = backend.run(pid, Expect::Executed).unwrap() else { panic!("it makes calls") };
            if i64::from(call.nr) == libc::SYS_clock_nanosleep {
                return (backend, child, call);
            }
            let ret = backend.execute(pid, call.nr, call.args).unwrap();
            backend.finish(pid, ret).unwrap();
        }
    }

    fn write_time(backend: &mut Ptrace, pid: Pid, call: &Call, time: [u64; 2]) {
        let bytes: Vec<u8> = time.iter().flat_map(|part| part.to_le_bytes()).collect();
        backend.write(pid, call.args[2], &bytes).unwrap();
    }

    #[test]
    fn a_wait_that_was_begun_with_the_rest_of_its_time_ends_with_that() {
        let (mut backend, mut child, call) = sleeper();
        let pid = child.id().cast_signed();
        write_time(&mut backend, pid, &call, MOMENT);
        assert_eq!(backend.begin_wait(pid, call.args).unwrap(), ERESTART_RESTARTBLOCK);
        write_time(&mut backend, pid, &call, HOUR);
        let nr = libc::SYS_restart_syscall as i32;
        assert_eq!(backend.at(pid), At::Call(Call { nr, ..call }));
        // Other calls between do not change it.
        assert_eq!(backend.execute(pid, libc::SYS_getppid as i32, [0; 6]).unwrap(), i64::from(std::process::id()));
        let (done, over) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if over.recv_timeout(Duration::from_secs(60)).is_err() {
                let _ = child.kill();
            }
            child
        });
        let slept = backend.execute(pid, nr, call.args);
        let _ = done.send(());
        assert_eq!(slept.unwrap(), 0);
        let mut child = watch.join().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_wait_that_has_ended_meanwhile_is_told_from_one_that_goes_on() {
        let (mut backend, mut child, _) = sleeper();
        let pid = child.id().cast_signed();
        let mut engine = Engine::new(std::mem::take(&mut backend), pid, LastPid::new(pid));
        engine.tasks.get_mut(&1).unwrap().pending = Some(Pending { ret: ERESTART_RESTARTBLOCK, mask: None });
        assert!(!engine.has_ended_its_wait(1));
        engine.backend().finish(pid, 0).unwrap();
        assert!(engine.has_ended_its_wait(1));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A struct pollfd.
    static POLLED: AtomicU64 = AtomicU64::new(0);

    fn poll_for_an_hour() {
        // SAFETY: `POLLED` has the size of a pollfd, and only this task writes it.
        unsafe { libc::syscall(libc::SYS_poll, POLLED.as_ptr(), 1, 3_600_000) };
    }

    #[test]
    fn what_a_poll_waits_for_and_is_there_already_is_not_told_before_it_begins_anew() {
        let (read, mut write) = std::io::pipe().unwrap();
        write.write_all(b"!").unwrap();
        let polled = u64::from(std::os::fd::AsRawFd::as_raw_fd(&read).cast_unsigned()) | (libc::POLLIN as u64) << 32;
        POLLED.store(polled, Ordering::Relaxed);
        let mut twins = Twins::before(poll_for_an_hour);
        let pid = twins.replica;
        assert!(
            matches!(twins.backend.run(pid, Expect::Executed).unwrap(), At::Call(call) if i64::from(call.nr) == libc::SYS_poll)
        );
        let mut engine = Engine::new(std::mem::take(&mut twins.backend), pid, LastPid::new(pid));
        let pending = Pending { ret: ERESTART_RESTARTBLOCK, mask: None };
        engine.tasks.get_mut(&1).unwrap().pending = Some(pending);
        engine.shorten(&Wait { tid: 1, nr: libc::SYS_poll as i32, until_ns: u64::MAX }, 0).unwrap();
        twins.backend = std::mem::take(engine.backend());
        let mut now = [0; 8];
        twins.backend.read(pid, POLLED.as_ptr() as u64, &mut now).unwrap();
        assert_eq!(u64::from_le_bytes(now), polled);
        assert!(matches!(twins.backend.at(pid), At::Call(call) if i64::from(call.nr) == libc::SYS_poll));
        assert_eq!(twins.backend.execute(pid, libc::SYS_poll as i32, [POLLED.as_ptr() as u64, 1, 0, 0, 0, 0]).unwrap(), 1);
    }
}
