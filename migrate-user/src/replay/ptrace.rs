//! The reference backend: ptrace, one stop a call that is injected, two or three a call that is executed.
//!
//! `PTRACE_SYSEMU` stops a task at a call's entry and skips the call; `PTRACE_SYSCALL` stops it at entry and exit. The engine says
//! which it expects to need. When that was wrong, a call that was to be executed is cancelled by its number, and one that was
//! skipped is made again from its instruction, which costs a stop for the exit of the skipped one. Afterwards the registers are
//! set as if nothing had been. They are read once a stop and written once before the task moves.

mod alarm;
mod detour;
mod enter;
mod group;
pub mod point;
mod registers;
mod rep;
mod signal;
mod start;
mod tasks;
#[cfg(test)]
pub(in crate::replay) mod twins;

use super::backend::{At, BackendError, Call, Result};
use crate::sys::ptrace::{self, Pid, Regs, Resume, Stop, Wait, Waited};
use crate::sys::signals::{is_synchronous, raised_by_itself};
use std::collections::{HashMap, HashSet};

/// Bytes of the `syscall` instruction.
pub(super) use crate::sys::syscall_instruction::BYTES as SYSCALL_BYTES;
/// The kernel's codes for a call that a signal interrupted: ERESTARTSYS to ERESTART_RESTARTBLOCK. User code never sees them.
pub const RESTART_CODES: std::ops::RangeInclusive<i64> = -516..=-512;
/// The one of a wait that goes on as `restart_syscall`, whose end the kernel keeps.
pub const ERESTART_RESTARTBLOCK: i64 = -516;
/// How often a call is made again that signals keep interrupting before the replica's own are drained.
const RETRIES: u32 = 64;

#[derive(Debug)]
struct Task {
    /// Its process, as the host numbers it.
    tgid: Pid,
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
    fn new(tgid: Pid, regs: Regs, at: At) -> Self {
        Self { tgid, regs, dirty: false, at, stop: Stopped::Outside, gadget: None }
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
    /// Leaders that ended before their processes: the kernel tells of their end with that of the last other task.
    ended_leaders: HashSet<Pid>,
    alarm: alarm::Alarm,
}

impl Ptrace {
    /// A backend without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
                Stop::Signal(signal) if is_synchronous(signal) && raised_by_itself(signal, &ptrace::siginfo(pid)?) => {
                    return Ok(Stop::Signal(signal));
                }
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

    fn set_at(&mut self, pid: Pid, at: At) -> Result<()> {
        self.task_mut(pid)?.at = at;
        Ok(())
    }

    fn reload(&mut self, pid: Pid, at: At) -> Result<()> {
        let regs = ptrace::regs(pid)?;
        let task = self.task_mut(pid)?;
        *task = Task { gadget: task.gadget, ..Task::new(task.tgid, regs, at) };
        Ok(())
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
