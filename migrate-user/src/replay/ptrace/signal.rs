//! Signals: a delivery at the right place with the right siginfo, and an end.

use super::Ptrace;
use crate::replay::backend::{At, Backend as _, BackendError, Interrupted, Result};
use crate::sys::ptrace::{self, Pid, RESUME_FLAG, Resume, SIGINFO_BYTES, Stop};

impl Ptrace {
    pub(super) fn deliver_here(
        &mut self,
        pid: Pid,
        signal: i32,
        info: &[u8; SIGINFO_BYTES],
        interrupted: Option<Interrupted>,
    ) -> Result<()> {
        if let At::Fault(own) = self.at(pid)
            && own == signal
        {
            return self.enter_handler(pid, signal, info);
        }
        let task = self.task_mut(pid)?;
        if task.regs.eflags & RESUME_FLAG != 0 {
            // A breakpoint's trace, which would come to lie in the signal's frame; the gate keeps it from the source's.
            task.regs.eflags &= !RESUME_FLAG;
            task.dirty = true;
        }
        let tgid = self.task(pid)?.tgid;
        let queue =
            || ptrace::tgkill(tgid, pid, signal).map_err(|source| BackendError::Io { what: "sending a signal", pid, source });
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
