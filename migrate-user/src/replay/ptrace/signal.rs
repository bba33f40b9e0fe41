//! Signals: a delivery at the right place with the right siginfo, and an end.

use super::Ptrace;
use crate::replay::backend::{At, Backend as _, BackendError, Interrupted, Result, Signal, Trap};
use crate::sys::ptrace::{self, Pid, RESUME_FLAG, Resume, Stop};

impl Ptrace {
    pub(super) fn deliver_here(&mut self, pid: Pid, signal: &Signal, interrupted: Option<Interrupted>) -> Result<()> {
        if let At::Fault(own) = self.at(pid)
            && own == signal.number
        {
            return self.enter_handler(pid, signal);
        }
        let task = self.task_mut(pid)?;
        if task.regs.eflags & RESUME_FLAG != 0 {
            // A breakpoint's mark, which would come to lie in the signal's frame; the gate keeps it from the source's.
            task.regs.eflags &= !RESUME_FLAG;
            task.dirty = true;
        }
        let tgid = self.task(pid)?.tgid;
        let queue = || {
            ptrace::tgkill(tgid, pid, signal.number).map_err(|source| BackendError::Io { what: "sending a signal", pid, source })
        };
        match interrupted {
            Some(Interrupted { ret, mask: Some(mask) }) => {
                // Only a call that swaps the mask makes the kernel save the right one in the frame: wait as the source did,
                // with the signal already there.
                let before = self.enter(pid, libc::SYS_rt_sigsuspend as i32, [mask, 8, 0, 0, 0, 0], "wait for a signal")?;
                queue()?;
                self.leave(pid, "wait for a signal")?;
                let task = self.task_mut(pid)?;
                task.regs = before;
                task.regs.rax = ret.cast_unsigned();
                task.dirty = true;
            }
            Some(Interrupted { ret, mask: None }) => {
                self.pass_exit(pid, "take a signal")?;
                queue()?;
                let task = self.task_mut(pid)?;
                task.regs.rax = ret.cast_unsigned();
                task.dirty = true;
            }
            None => {
                self.pass_exit(pid, "take a signal")?;
                queue()?;
            }
        }
        self.step_into_handler(pid, signal)
    }

    /// The signal is queued: takes the task to its delivery, gives it the right siginfo, and on to its handler.
    fn step_into_handler(&mut self, pid: Pid, signal: &Signal) -> Result<()> {
        self.resume(pid, Resume::Sysemu, 0)?;
        loop {
            match self.wait(pid)? {
                Stop::Signal(got) if got == signal.number => break,
                Stop::Signal(_) | Stop::Group(_) | Stop::Event => ptrace::resume(pid, Resume::Sysemu, 0)?,
                Stop::Syscall => return Err(BackendError::Undeliverable { pid, signal: signal.number }),
                stop => return Err(self.unexpected(pid, stop, "take a signal")),
            }
        }
        self.enter_handler(pid, signal)
    }

    /// From the stop before a signal's delivery to the first instruction of its handler.
    fn enter_handler(&mut self, pid: Pid, signal: &Signal) -> Result<()> {
        ptrace::set_siginfo(pid, &signal.info)?;
        ptrace::resume(pid, Resume::Step, signal.number)?;
        match self.wait(pid)? {
            Stop::Signal(libc::SIGTRAP) => self.reload(pid, At::User)?,
            stop => return Err(self.unexpected(pid, stop, "enter a signal handler")),
        }
        self.show_trap(pid, &signal.trap)
    }

    /// The task stands at its handler's first instruction. The kernel has put the task's last trap into the frame, which can be a
    /// breakpoint by which this replica was brought to a place: the source's had none.
    fn show_trap(&mut self, pid: Pid, trap: &Trap) -> Result<()> {
        const REGISTERS: u64 = std::mem::offset_of!(libc::ucontext_t, uc_mcontext) as u64;
        // The handler's third argument, whether it asked for one or not.
        let frame = self.task(pid)?.regs.rdx + REGISTERS;
        for (register, value) in [(libc::REG_ERR, trap.error), (libc::REG_TRAPNO, trap.number), (libc::REG_CR2, trap.address)] {
            self.write(pid, frame + u64::from(register.unsigned_abs()) * 8, &value.to_ne_bytes())?;
        }
        Ok(())
    }

    pub(super) fn kill_with(&mut self, pid: Pid, signal: i32) -> Result<()> {
        if self.at(pid) == At::Dead {
            return Ok(());
        }
        let tgid = self.task(pid)?.tgid;
        if !self.others(pid).is_empty() || self.ended_leaders.contains(&tgid) {
            // What its parent is told comes from the log.
            ptrace::tgkill(tgid, pid, libc::SIGKILL).map_err(|source| BackendError::Io { what: "killing", pid, source })?;
            return self.reap_process(pid);
        }
        if let At::Fault(own) = self.at(pid)
            && own == signal
        {
            self.resume(pid, Resume::Cont, signal)?;
        } else {
            ptrace::tgkill(tgid, pid, signal).map_err(|source| BackendError::Io { what: "killing", pid, source })?;
            // A task that was just killed for good cannot be resumed any more.
            if let Err(error) = self.resume(pid, Resume::Cont, 0)
                && !matches!(&error, BackendError::Ptrace(e) if e.is_gone())
            {
                return Err(error);
            }
        }
        loop {
            match self.wait(pid)? {
                Stop::Exited(_) | Stop::Killed(_) => {
                    self.died(pid);
                    return Ok(());
                }
                Stop::Signal(got) => ptrace::resume(pid, Resume::Cont, if got == signal { signal } else { 0 })?,
                Stop::Forked { .. } | Stop::Execed | Stop::Exiting | Stop::Syscall | Stop::Event | Stop::Group(_) => {
                    ptrace::resume(pid, Resume::Cont, 0)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::ptrace::twins::{TURNS, Twins};
    use crate::sys::ptrace::SIGINFO_BYTES;
    use std::sync::atomic::Ordering;

    fn count() {
        for turn in 0..3000 {
            TURNS.store(turn, Ordering::Relaxed);
        }
    }

    extern "C" fn handler(_: libc::c_int) {}

    #[test]
    fn a_handlers_frame_shows_the_sources_last_trap_and_no_breakpoint() {
        let signal = libc::SIGUSR2;
        let handler: extern "C" fn(libc::c_int) = handler;
        // SAFETY: the handler does nothing; the tasks inherit it.
        unsafe { libc::signal(signal, handler as usize) };
        let mut twins = Twins::before(count);
        twins.step(900);
        let place = twins.place_of_the_source();
        twins.backend.run_to(twins.replica, &place).unwrap();
        let mut info = [0; SIGINFO_BYTES];
        info[..4].copy_from_slice(&signal.to_ne_bytes());
        let trap = Trap { number: 14, error: 4, address: 0x1234 };
        twins.backend.deliver_here(twins.replica, &Signal { number: signal, info, trap }, None).unwrap();
        let frame = twins.backend.task(twins.replica).unwrap().regs.rdx;
        let mut context = std::mem::MaybeUninit::<libc::ucontext_t>::zeroed();
        // SAFETY: as many bytes as the structure has, every value of which is valid.
        let context = unsafe {
            let bytes = std::slice::from_raw_parts_mut(context.as_mut_ptr().cast::<u8>(), size_of::<libc::ucontext_t>());
            twins.backend.read(twins.replica, frame, bytes).unwrap();
            context.assume_init()
        };
        let register = |at: i32| context.uc_mcontext.gregs[at as usize].cast_unsigned();
        assert_eq!((register(libc::REG_TRAPNO), register(libc::REG_ERR), register(libc::REG_CR2)), (14, 4, 0x1234));
        assert_eq!(register(libc::REG_RIP), place.regs.rip);
        assert_eq!(register(libc::REG_EFL) & RESUME_FLAG, 0);
    }
}
