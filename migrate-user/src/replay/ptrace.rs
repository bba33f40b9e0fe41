//! The reference backend: ptrace, one stop a call that is injected, two or three a call that is executed.
//!
//! `PTRACE_SYSEMU` stops a task at a call's entry and skips the call; `PTRACE_SYSCALL` stops it at entry and exit. The engine says
//! which it expects to need. When that was wrong, a call that was to be executed is cancelled by its number, and one that was
//! skipped is made again from its instruction, which costs a stop for the exit of the skipped one. Afterwards the registers are
//! set as if nothing had been. They are read once a stop and written once before the task moves.

use super::backend::{At, Backend, BackendError, Call, Expect, Forked, Interrupted, Result};
use crate::sys::ptrace::{self, Fate, Pid, Regs, Resume, SIGINFO_BYTES, Stop, Wait, Waited};
use crate::sys::signals::{is_synchronous, raised_by_itself};
use std::collections::HashMap;

/// Bytes of the `syscall` instruction.
const SYSCALL_BYTES: u64 = 2;
/// The kernel's codes for a call that a signal interrupted: ERESTARTSYS to ERESTART_RESTARTBLOCK. User code never sees them.
pub const RESTART_CODES: std::ops::RangeInclusive<i64> = -516..=-512;
/// How often a call is made again that signals keep interrupting before the replica's own are drained.
const RETRIES: u32 = 64;

#[derive(Debug)]
struct Task {
    regs: Regs,
    dirty: bool,
    at: At,
    stop: Stopped,
    /// A `syscall` instruction of the image, for calls of a task that does not stand behind one. Found when it is needed.
    gadget: Option<u64>,
}

/// How the kernel will take a task on from where it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// At the entry of a call that it will skip.
    Emulated,
    /// At the entry of a call that it will make.
    Entry,
    /// To user mode.
    Outside,
}

impl Task {
    fn new(regs: Regs, at: At) -> Self {
        Self { regs, dirty: false, at, stop: Stopped::Outside, gadget: None }
    }

    /// Sets the registers so that the task makes the call that it stands at when it goes on.
    fn make_call(&mut self, call: &Call) {
        set_args(&mut self.regs, call.args);
        self.dirty = true;
        if self.stop == Stopped::Entry {
            self.regs.orig_rax = i64::from(call.nr).cast_unsigned();
            return;
        }
        self.regs.rip = call.ip - SYSCALL_BYTES;
        self.regs.rax = i64::from(call.nr).cast_unsigned();
        self.regs.orig_rax = u64::MAX;
    }
}

/// Replays with ptrace. Lives and dies on one thread: the tracer.
#[derive(Debug, Default)]
pub struct Ptrace {
    tasks: HashMap<Pid, Task>,
}

impl Ptrace {
    /// A backend without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over a container's first task, which its runtime has set up and which has not yet entered its image.
    pub fn seize(&mut self, pid: Pid) -> Result<()> {
        ptrace::seize(pid, Fate::Die)?;
        Ok(())
    }

    /// Waits until that task stands at the first instruction of its image.
    pub fn wait_first_image(&mut self, pid: Pid) -> Result<()> {
        loop {
            let stop = self.wait(pid)?;
            if self.before_first_image(pid, stop)? {
                return Ok(());
            }
        }
    }

    /// Takes the runtime's program on as far as it has stopped: true once it stands at the first instruction of the image.
    pub fn poll_first_image(&mut self, pid: Pid) -> Result<bool> {
        let fail = |source| BackendError::Io { what: "waiting", pid, source };
        loop {
            match ptrace::wait(Wait::For(pid), true).map_err(fail)? {
                Waited::Stopped(_, stop) if self.before_first_image(pid, stop)? => return Ok(true),
                Waited::Stopped(..) | Waited::Interrupted => {}
                Waited::NotYet => return Ok(false),
                Waited::Nobody => return Err(BackendError::Gone { pid }),
            }
        }
    }

    /// True if the stop is that of the first image; otherwise the task goes on.
    fn before_first_image(&mut self, pid: Pid, stop: Stop) -> Result<bool> {
        match stop {
            Stop::Execed => {
                let regs = self.leave_exec(pid)?;
                self.tasks.insert(pid, Task::new(regs, At::User));
                return Ok(true);
            }
            Stop::Signal(signal) => ptrace::resume(pid, Resume::Cont, signal)?,
            Stop::Group(_) => ptrace::resume(pid, Resume::Listen, 0)?,
            Stop::Exited(_) | Stop::Killed(_) => return Err(BackendError::Gone { pid }),
            // The runtime's own helpers are not part of the replica: let them run.
            Stop::Forked { child, .. } => {
                if let Stop::Event = self.wait(child)? {
                    ptrace::detach(child, 0)?;
                }
                ptrace::resume(pid, Resume::Cont, 0)?;
            }
            Stop::Syscall | Stop::Event => ptrace::resume(pid, Resume::Cont, 0)?,
        }
        Ok(false)
    }

    /// Tasks that have not ended.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.tasks.iter().filter(|(_, task)| task.at != At::Dead).map(|(pid, _)| *pid)
    }

    fn wait(&self, pid: Pid) -> Result<Stop> {
        match ptrace::wait(Wait::For(pid), false) {
            Ok(Waited::Stopped(_, stop)) => Ok(stop),
            Ok(Waited::NotYet | Waited::Nobody | Waited::Interrupted) => Err(BackendError::Gone { pid }),
            Err(source) => Err(BackendError::Io { what: "waiting", pid, source }),
        }
    }

    fn task(&self, pid: Pid) -> Result<&Task> {
        self.tasks.get(&pid).ok_or(BackendError::Gone { pid })
    }

    fn task_mut(&mut self, pid: Pid) -> Result<&mut Task> {
        self.tasks.get_mut(&pid).ok_or(BackendError::Gone { pid })
    }

    /// Writes the registers if they were changed, and lets the task go.
    fn resume(&mut self, pid: Pid, how: Resume, signal: i32) -> Result<()> {
        let task = self.task_mut(pid)?;
        if std::mem::take(&mut task.dirty) {
            ptrace::set_regs(pid, &task.regs)?;
        }
        ptrace::resume(pid, how, signal)?;
        Ok(())
    }

    /// Lets the task go until it stops for something other than a signal that nobody asked for.
    fn resume_past_signals(&mut self, pid: Pid, how: Resume) -> Result<Stop> {
        self.resume(pid, how, 0)?;
        loop {
            match self.wait(pid)? {
                Stop::Signal(signal) if is_synchronous(signal) && raised_by_itself(signal, &ptrace::siginfo(pid)?) => return Ok(Stop::Signal(signal)),
                Stop::Signal(_) | Stop::Group(_) | Stop::Event => ptrace::resume(pid, how, 0)?,
                stop => return Ok(stop),
            }
        }
    }

    fn died(&mut self, pid: Pid) {
        if let Some(task) = self.tasks.get_mut(&pid) {
            task.at = At::Dead;
        }
    }

    fn unexpected(&mut self, pid: Pid, stop: Stop, doing: &'static str) -> BackendError {
        if matches!(stop, Stop::Exited(_) | Stop::Killed(_)) {
            self.died(pid);
        }
        BackendError::Unexpected { pid, stop: format!("{stop:?}"), doing }
    }

    /// Takes the task to the entry of the call `nr(args)`. Returns the registers that it had.
    fn enter(&mut self, pid: Pid, nr: i32, args: [u64; 6], doing: &'static str) -> Result<Regs> {
        let ip = match self.at(pid) {
            At::Call(call) => call.ip - SYSCALL_BYTES,
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
    fn pass_exit(&mut self, pid: Pid, doing: &'static str) -> Result<()> {
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
    fn leave(&mut self, pid: Pid, doing: &'static str) -> Result<Regs> {
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
    fn make_again(&mut self, pid: Pid, call: &Call, doing: &'static str) -> Result<Stop> {
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
    fn leave_exec(&mut self, pid: Pid) -> Result<Regs> {
        ptrace::resume(pid, Resume::Syscall, 0)?;
        match self.wait(pid)? {
            Stop::Syscall => Ok(ptrace::regs(pid)?),
            stop => Err(self.unexpected(pid, stop, "leave an exec")),
        }
    }

    /// A `syscall` instruction in the task's memory: the vDSO has one, hidden or not.
    fn gadget(&mut self, pid: Pid) -> Result<u64> {
        if let Some(found) = self.task(pid)?.gadget {
            return Ok(found);
        }
        let fail = |source| BackendError::Io { what: "looking for a system call instruction", pid, source };
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).map_err(fail)?;
        let range = maps.lines().find(|line| line.ends_with("[vdso]")).and_then(|line| {
            let (from, to) = line.split_once(' ')?.0.split_once('-')?;
            Some(u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?)
        });
        let range = range.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
        let mut code = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        self.read(pid, range.start, &mut code)?;
        let at =
            code.windows(2).position(|pair| pair == [0x0f, 0x05]).ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
        let found = range.start + at as u64;
        self.task_mut(pid)?.gadget = Some(found);
        Ok(found)
    }

    fn set_at(&mut self, pid: Pid, at: At) -> Result<()> {
        self.task_mut(pid)?.at = at;
        Ok(())
    }

    fn reload(&mut self, pid: Pid, at: At) -> Result<()> {
        let regs = ptrace::regs(pid)?;
        let task = self.task_mut(pid)?;
        *task = Task { gadget: task.gadget, ..Task::new(regs, at) };
        Ok(())
    }

    /// The signal is queued: takes the task to its delivery, gives it the right siginfo, and on to its handler.
    fn step_into_handler(&mut self, pid: Pid, signal: i32, info: &[u8; SIGINFO_BYTES]) -> Result<()> {
        self.resume(pid, Resume::Sysemu, 0)?;
        loop {
            match self.wait(pid)? {
                Stop::Signal(got) if got == signal => break,
                Stop::Signal(_) | Stop::Group(_) | Stop::Event => ptrace::resume(pid, Resume::Sysemu, 0)?,
                Stop::Syscall => return Err(BackendError::Undeliverable { pid, signal }),
                stop => return Err(self.unexpected(pid, stop, "take a signal")),
            }
        }
        self.enter_handler(pid, signal, info)
    }

    /// From the stop before a signal's delivery to the first instruction of its handler.
    fn enter_handler(&mut self, pid: Pid, signal: i32, info: &[u8; SIGINFO_BYTES]) -> Result<()> {
        ptrace::set_siginfo(pid, info)?;
        ptrace::resume(pid, Resume::Step, signal)?;
        match self.wait(pid)? {
            Stop::Signal(libc::SIGTRAP) => self.reload(pid, At::User),
            stop => Err(self.unexpected(pid, stop, "enter a signal handler")),
        }
    }
}

fn set_args(regs: &mut Regs, args: [u64; 6]) {
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
}

fn call_of(regs: &Regs) -> Call {
    #[expect(clippy::cast_possible_truncation, reason = "the kernel takes the number from 32 bits")]
    let nr = regs.orig_rax as i32;
    Call { nr, args: [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9], ip: regs.rip, sp: regs.rsp }
}

impl Backend for Ptrace {
    fn at(&self, pid: Pid) -> At {
        self.tasks.get(&pid).map_or(At::Dead, |task| task.at)
    }

    fn run(&mut self, pid: Pid, expect: Expect) -> Result<At> {
        let (how, stop) = match expect {
            Expect::Injected => (Resume::Sysemu, Stopped::Emulated),
            Expect::Executed => {
                self.pass_exit(pid, "leave a call")?;
                (Resume::Syscall, Stopped::Entry)
            }
        };
        let at = match self.resume_past_signals(pid, how)? {
            Stop::Syscall => {
                let regs = ptrace::regs(pid)?;
                let at = At::Call(call_of(&regs));
                let task = self.task_mut(pid)?;
                *task = Task { gadget: task.gadget, stop, ..Task::new(regs, at) };
                return Ok(at);
            }
            Stop::Signal(signal) => At::Fault(signal),
            Stop::Exited(_) | Stop::Killed(_) => {
                self.died(pid);
                return Ok(At::Dead);
            }
            stop => return Err(self.unexpected(pid, stop, "run to its next call")),
        };
        self.reload(pid, at)?;
        Ok(at)
    }

    fn finish(&mut self, pid: Pid, ret: i64) -> Result<()> {
        let task = self.task_mut(pid)?;
        task.regs.rax = ret.cast_unsigned();
        if task.stop == Stopped::Entry {
            task.regs.orig_rax = u64::MAX;
        }
        task.dirty = true;
        task.at = At::User;
        Ok(())
    }

    fn execute(&mut self, pid: Pid, nr: i32, args: [u64; 6]) -> Result<i64> {
        for _ in 0..RETRIES {
            let before = self.enter(pid, nr, args, "make a call")?;
            let after = self.leave(pid, "return from a call")?;
            let task = self.task_mut(pid)?;
            // arch_prctl sets the segment bases, which are registers too.
            task.regs = Regs { fs_base: after.fs_base, gs_base: after.gs_base, ..before };
            task.dirty = true;
            let ret = after.rax.cast_signed();
            if !RESTART_CODES.contains(&ret) {
                return Ok(ret);
            }
        }
        Err(BackendError::Unexpected { pid, stop: format!("signals during call {nr}"), doing: "make a call" })
    }

    fn fork(&mut self, pid: Pid) -> Result<Forked> {
        let At::Call(call) = self.at(pid) else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", self.at(pid)), doing: "fork" });
        };
        let (child, vfork) = match self.make_again(pid, &call, "fork")? {
            Stop::Forked { child, vfork } => (child, vfork),
            stop => return Err(self.unexpected(pid, stop, "fork")),
        };
        match self.wait(child)? {
            Stop::Event => {}
            stop => return Err(self.unexpected(child, stop, "start")),
        }
        let regs = ptrace::regs(child)?;
        self.tasks.insert(child, Task::new(regs, At::User));
        let tid = ptrace::namespace_tid(child)
            .map_err(|source| BackendError::Io { what: "reading the number", pid: child, source })?
            .unsigned_abs();
        if vfork {
            self.resume(pid, Resume::Syscall, 0)?;
            self.set_at(pid, At::Vfork)?;
        } else {
            self.leave(pid, "return from fork")?;
            self.reload(pid, At::User)?;
        }
        Ok(Forked { child, tid })
    }

    fn vfork_done(&mut self, pid: Pid) -> Result<()> {
        match self.wait(pid)? {
            Stop::Syscall => self.reload(pid, At::User),
            stop => Err(self.unexpected(pid, stop, "return from vfork")),
        }
    }

    fn exec(&mut self, pid: Pid) -> Result<()> {
        let At::Call(call) = self.at(pid) else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", self.at(pid)), doing: "exec" });
        };
        match self.make_again(pid, &call, "exec")? {
            Stop::Execed => {
                let regs = self.leave_exec(pid)?;
                self.tasks.insert(pid, Task::new(regs, At::User));
                Ok(())
            }
            stop => Err(self.unexpected(pid, stop, "exec")),
        }
    }

    fn sigreturn(&mut self, pid: Pid) -> Result<i64> {
        let At::Call(call) = self.at(pid) else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", self.at(pid)), doing: "return from a signal" });
        };
        self.enter(pid, call.nr, call.args, "return from a signal")?;
        let after = self.leave(pid, "return from a signal")?;
        self.reload(pid, At::User)?;
        Ok(after.rax.cast_signed())
    }

    fn exit(&mut self, pid: Pid) -> Result<()> {
        let task = self.task_mut(pid)?;
        let At::Call(call) = task.at else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", task.at), doing: "exit" });
        };
        task.make_call(&call);
        match self.resume_past_signals(pid, Resume::Cont)? {
            Stop::Exited(_) | Stop::Killed(_) => {
                self.died(pid);
                Ok(())
            }
            stop => Err(self.unexpected(pid, stop, "exit")),
        }
    }

    fn kill(&mut self, pid: Pid, signal: i32) -> Result<()> {
        if self.at(pid) == At::Dead {
            return Ok(());
        }
        if let At::Fault(own) = self.at(pid)
            && own == signal
        {
            self.resume(pid, Resume::Cont, signal)?;
        } else {
            ptrace::tgkill(pid, pid, signal).map_err(|source| BackendError::Io { what: "killing", pid, source })?;
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
                Stop::Forked { .. } | Stop::Execed | Stop::Syscall | Stop::Event | Stop::Group(_) => {
                    ptrace::resume(pid, Resume::Cont, 0)?;
                }
            }
        }
    }

    fn deliver(&mut self, pid: Pid, signal: i32, info: &[u8; SIGINFO_BYTES], interrupted: Option<Interrupted>) -> Result<()> {
        if let At::Fault(own) = self.at(pid)
            && own == signal
        {
            return self.enter_handler(pid, signal, info);
        }
        let queue =
            || ptrace::tgkill(pid, pid, signal).map_err(|source| BackendError::Io { what: "sending a signal", pid, source });
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
        self.step_into_handler(pid, signal, info)
    }

    fn read(&self, pid: Pid, addr: u64, buffer: &mut [u8]) -> Result<()> {
        let len = buffer.len();
        ptrace::read_memory(pid, addr, buffer).map_err(|source| BackendError::Memory { pid, addr, len, source })
    }

    fn write(&mut self, pid: Pid, addr: u64, bytes: &[u8]) -> Result<()> {
        if ptrace::write_memory(pid, addr, bytes).is_ok() {
            return Ok(());
        }
        // Below the stack's end the kernel grows it for the task's own calls only: let one write there.
        if matches!(self.at(pid), At::Call(_) | At::User) {
            self.execute(pid, libc::SYS_getrandom as i32, [addr, bytes.len() as u64, 0, 0, 0, 0])?;
        }
        ptrace::write_memory(pid, addr, bytes).map_err(|source| BackendError::Memory { pid, addr, len: bytes.len(), source })
    }

    fn pointers(&self, pid: Pid) -> Result<(u64, u64)> {
        let task = self.task(pid)?;
        Ok((task.regs.rsp, task.regs.rip))
    }

    fn signal_mask(&self, pid: Pid) -> Result<u64> {
        Ok(ptrace::sigmask(pid)?)
    }

    fn set_signal_mask(&mut self, pid: Pid, mask: u64) -> Result<()> {
        Ok(ptrace::set_sigmask(pid, mask)?)
    }

    fn unleash(&mut self, pid: Pid) -> Result<()> {
        let task = self.task_mut(pid)?;
        match task.at {
            // In vfork it cannot be stopped; it goes on when its child does.
            At::Dead | At::Vfork => return Ok(()),
            At::Call(call) => task.make_call(&call),
            At::Fault(_) | At::User => {}
        }
        if std::mem::take(&mut task.dirty) {
            ptrace::set_regs(pid, &task.regs)?;
        }
        Ok(ptrace::set_fate(pid, Fate::RunOn)?)
    }

    fn release(&mut self, pid: Pid) -> Result<()> {
        match self.at(pid) {
            At::Dead => return Ok(()),
            // Its child is let go too, so this ends.
            At::Vfork => self.vfork_done(pid)?,
            _ => {}
        }
        self.unleash(pid)?;
        let signal = if let At::Fault(own) = self.at(pid) { own } else { 0 };
        ptrace::detach(pid, signal)?;
        self.tasks.remove(&pid);
        Ok(())
    }
}
