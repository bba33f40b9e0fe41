//! Calls that a task of the container makes in the agent's name, without a trace.
//!
//! The task stands still outside of a call. It is set aside meanwhile ([`Aside`]): neither the calls nor its turns are recorded. Its signals
//! are blocked, its seccomp filters do not count, and afterwards it stands exactly as before.

use super::lone::LoneWaits;
use crate::probe::{Aside, Recorder};
use crate::sys::ptrace::{self, Fate, Pid, Regs, Resume, Stop, Waited};
use crate::sys::syscall_instruction;
use std::io;
use std::sync::Arc;

/// Blocks every signal that can be blocked, but for SIGTRAP: what the tracer does must not change how the program handles it.
const ALL_SIGNALS: u64 = !(1 << (libc::SIGTRAP - 1));

/// Why a task has not made a call of the agent's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// It stands as before.
    #[error("{0}")]
    Refused(io::Error),
    /// Its end is reported next.
    #[error("it has been killed")]
    Gone,
    /// This reported its end.
    #[error("it has ended")]
    Ended(Stop),
    #[error("it keeps descriptor {0}, which the agent opened there")]
    Kept(i32),
}

impl From<ptrace::PtraceError> for Failed {
    fn from(error: ptrace::PtraceError) -> Self {
        if error.is_gone() { Self::Gone } else { Self::Refused(error.source) }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

/// A task that stands still outside of a call, with what it has to have again.
#[derive(Debug)]
pub(super) struct Standing {
    pid: Pid,
    lone: LoneWaits,
    regs: Regs,
    mask: u64,
    fate: Fate,
    /// Where it finds a `syscall` instruction.
    instruction: u64,
    /// It was on its way to a stop signal's delivery.
    stop_signal: bool,
    /// Its process was stopped meanwhile.
    group_stop: bool,
}

impl Standing {
    pub(super) fn of(pid: Pid, fate: Fate, lone: &LoneWaits) -> Result<Self, Failed> {
        let (regs, mask) = (ptrace::regs(pid)?, ptrace::sigmask(pid)?);
        let instruction = syscall_instruction::find(pid).map_err(Failed::Refused)?;
        Ok(Self { pid, lone: lone.clone(), regs, mask, fate, instruction, stop_signal: false, group_stop: false })
    }

    /// Lets the task make calls, by [`Standing::call`]. Afterwards it stands as before, unless it is gone.
    pub(super) fn aside<T>(
        mut self,
        recorder: &Arc<Recorder>,
        slot: u32,
        act: impl FnOnce(&mut Self) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let aside = Aside::set(recorder, slot, self.pid.unsigned_abs());
        let _aside = aside.map_err(|error| Failed::Refused(io::Error::other(error)))?;
        let pid = self.pid;
        // A filter could do anything with a call that it does not know.
        ptrace::suspend_seccomp(pid, self.fate)?;
        ptrace::set_sigmask(pid, ALL_SIGNALS)?;
        let done = act(&mut self);
        if matches!(done, Err(Failed::Gone | Failed::Ended(_))) {
            return done;
        }
        ptrace::set_regs(pid, &self.regs)?;
        ptrace::set_sigmask(pid, self.mask)?;
        ptrace::set_fate(pid, self.fate)?;
        if self.stop_signal {
            // It may have been killed.
            let _ = ptrace::tkill(pid, libc::SIGSTOP);
        }
        if self.group_stop {
            ptrace::interrupt(pid)?;
        }
        done
    }

    /// Has the task make a call: its result.
    pub(super) fn call(&mut self, nr: i64, args: [u64; 6]) -> Result<i64, Failed> {
        let [rdi, rsi, rdx, r10, r8, r9] = args;
        // No restart of another call on the way.
        let (rip, rax, orig_rax) = (self.instruction, nr.cast_unsigned(), u64::MAX);
        ptrace::set_regs(self.pid, &Regs { rip, rax, rdi, rsi, rdx, r10, r8, r9, orig_rax, ..self.regs })?;
        self.go_to_boundary()?;
        self.go_to_boundary()?;
        Ok(ptrace::regs(self.pid)?.rax.cast_signed())
    }

    /// On to the entry of the call, or to its exit. What stops it on the way does so again afterwards.
    fn go_to_boundary(&mut self) -> Result<(), Failed> {
        loop {
            ptrace::resume(self.pid, Resume::Syscall, 0)?;
            match self.lone.wait(self.pid) {
                Ok(Waited::Stopped(_, Stop::Syscall)) => return Ok(()),
                Ok(Waited::Stopped(_, Stop::Signal(_))) => self.stop_signal = true,
                Ok(Waited::Stopped(_, Stop::Group(_) | Stop::Event)) => self.group_stop = true,
                Ok(Waited::Stopped(_, stop)) => return Err(Failed::Ended(stop)),
                _ => return Err(Failed::Gone),
            }
        }
    }
}
