//! What tracks the writes to a process's memory, opened in the source's tasks.
//!
//! A userfaultfd tracks the memory of the process that opens it, and takes a descriptor for as long as the agent needs to take it over. So a
//! task of the container makes two calls of the agent's in its own name, at a moment when no other task of its process can see that:
//!
//! * of a process with one task, when the agent wants to know what it writes ([`Recorder::ask_for`](crate::probe::Recorder::ask_for)): held
//!   behind its next call;
//! * of others when they make their second task: that one has not moved, and its maker stands in the call.
//!
//! The task is set aside meanwhile ([`Aside`]): neither the calls nor its turns are recorded. Its signals are blocked, its seccomp filters
//! do not count, and afterwards it stands exactly as before.

use super::{Gate, GateEvent};
use crate::probe::Aside;
use crate::sys::kcmp;
use crate::sys::ptrace::{self, Fate, Pid, Regs, Resume, Stop, Wait, Waited};
use crate::sys::syscall_instruction;
use crate::sys::userfaultfd::{self, Userfaultfd};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Blocks every signal that can be blocked, but for SIGTRAP: what the tracer does must not change how the program handles it.
const ALL_SIGNALS: u64 = !(1 << (libc::SIGTRAP - 1));

/// Processes of a container whose writes can be tracked, by number on the host.
#[derive(Debug, Default)]
pub struct Tracks(Mutex<HashMap<Pid, Arc<Userfaultfd>>>);

impl Tracks {
    /// What tracks a process; it may have entered another image since.
    #[must_use]
    pub fn of(&self, tgid: Pid) -> Option<Arc<Userfaultfd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&tgid).cloned()
    }

    fn has(&self, tgid: Pid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&tgid)
    }

    fn insert(&self, tgid: Pid, writes: Userfaultfd) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tgid, Arc::new(writes));
    }

    /// The process has ended, or has another image.
    fn remove(&self, tgid: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&tgid);
    }
}

/// Why a task has not made a call of the agent's.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// It stands as before.
    #[error("{0}")]
    Refused(io::Error),
    #[error("it has ended")]
    Gone,
    #[error("it keeps descriptor {0}, which the agent opened there")]
    Kept(i32),
}

impl From<ptrace::PtraceError> for Failed {
    fn from(error: ptrace::PtraceError) -> Self {
        if error.is_gone() { Self::Gone } else { Self::Refused(error.source) }
    }
}

impl<F: FnMut(GateEvent)> Gate<F> {
    /// Opens what tracks the processes of a slot, for whoever holds `tracks`.
    #[must_use]
    pub fn tracking(mut self, slot: u32, tracks: Arc<Tracks>) -> Self {
        self.tracks = Some((slot, tracks));
        self
    }

    /// A task has made another that shares its memory. Is it the second of its process, and are its writes to be tracked?
    pub(super) fn begins_threads(&self, maker: Pid, child: Pid) -> Option<Pid> {
        let (_, tracks) = self.tracks.as_ref()?;
        let tgid = ptrace::numbers(child).ok()?.tgid;
        if tgid == child || tracks.has(tgid) || !kcmp::same_table(maker, child).unwrap_or(false) {
            return None;
        }
        std::fs::read_dir(format!("/proc/{tgid}/task")).is_ok_and(|tasks| tasks.count() == 2).then_some(tgid)
    }

    /// The agent has asked for a task, which stands behind a call. Others of its process would see what it does.
    pub(super) fn asked(&mut self, pid: Pid) {
        let alone = std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() == 1);
        if alone && self.shares_table_with_nobody(pid) {
            self.track(pid, pid);
        }
    }

    /// A process has entered another image, or has ended.
    pub(super) fn tracks_no_more(&mut self, tgid: Pid) {
        if let Some((_, tracks)) = &self.tracks {
            tracks.remove(tgid);
        }
    }

    fn shares_table_with_nobody(&self, pid: Pid) -> bool {
        self.tasks.keys().all(|other| *other == pid || !kcmp::same_table(pid, *other).unwrap_or(false))
    }

    /// Has a task that stands still, and which no other of its process can look over the shoulder, open what tracks it.
    pub(super) fn track(&mut self, pid: Pid, tgid: Pid) {
        let (Some((slot, tracks)), Some(recorder)) = (self.tracks.clone(), self.recorder.clone()) else { return };
        let opened = (|| {
            let mut standing = Standing::of(pid, self.fate)?;
            let aside = Aside::set(&recorder, slot, pid.unsigned_abs());
            let _aside = aside.map_err(|error| Failed::Refused(io::Error::other(error)))?;
            standing.open(pid, tgid)
        })();
        match opened {
            Ok(writes) => tracks.insert(tgid, writes),
            Err(failed @ Failed::Kept(_)) => {
                let why = format!("process {tgid} has become another: {failed}");
                (self.tell)(GateEvent::NotMigratable { host_tid: pid.unsigned_abs(), why });
            }
            Err(failed) => tracing::debug!(pid, %failed, "writes to a process's memory are not tracked"),
        }
    }
}

/// A task that stands still outside of a call, with what it has to have again.
#[derive(Debug)]
struct Standing {
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
    fn of(pid: Pid, fate: Fate) -> Result<Self, Failed> {
        let (regs, mask) = (ptrace::regs(pid)?, ptrace::sigmask(pid)?);
        let instruction = syscall_instruction::find(pid).map_err(Failed::Refused)?;
        Ok(Self { regs, mask, fate, instruction, stop_signal: false, group_stop: false })
    }

    /// Has the task open a userfaultfd, takes it over, and has the task close it. Afterwards it stands as before.
    fn open(&mut self, pid: Pid, tgid: Pid) -> Result<Userfaultfd, Failed> {
        // A filter could do anything with a call that it does not know.
        ptrace::suspend_seccomp(pid, self.fate)?;
        ptrace::set_sigmask(pid, ALL_SIGNALS)?;
        let opened = self.open_and_close(pid, tgid);
        if matches!(opened, Err(Failed::Gone)) {
            return opened;
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
        opened
    }

    fn open_and_close(&mut self, pid: Pid, tgid: Pid) -> Result<Userfaultfd, Failed> {
        let result = self.call(pid, libc::SYS_userfaultfd, userfaultfd::OPEN_FLAGS)?;
        let descriptor = userfaultfd::opened(result).map_err(Failed::Refused)?;
        let taken = Userfaultfd::take_over(tgid, descriptor);
        match self.call(pid, libc::SYS_close, descriptor) {
            Ok(0) => taken.map_err(Failed::Refused),
            Err(Failed::Gone) => Err(Failed::Gone),
            _ => Err(Failed::Kept(descriptor)),
        }
    }

    /// Has the task make a call with one argument: its result.
    fn call(&mut self, pid: Pid, nr: i64, argument: i32) -> Result<i64, Failed> {
        let (rax, rdi) = (nr.cast_unsigned(), i64::from(argument).cast_unsigned());
        // No restart of another call on the way.
        let regs = Regs { rip: self.instruction, rax, rdi, orig_rax: u64::MAX, ..self.regs };
        ptrace::set_regs(pid, &regs)?;
        self.to_boundary(pid)?;
        self.to_boundary(pid)?;
        Ok(ptrace::regs(pid)?.rax.cast_signed())
    }

    /// On to the entry of the call, or to its exit. What stops it on the way does so again afterwards.
    fn to_boundary(&mut self, pid: Pid) -> Result<(), Failed> {
        loop {
            ptrace::resume(pid, Resume::Syscall, 0)?;
            match ptrace::wait(Wait::For(pid), false) {
                Ok(Waited::Stopped(_, Stop::Syscall)) => return Ok(()),
                Ok(Waited::Stopped(_, Stop::Signal(_))) => self.stop_signal = true,
                Ok(Waited::Stopped(_, Stop::Group(_) | Stop::Event)) => self.group_stop = true,
                _ => return Err(Failed::Gone),
            }
        }
    }
}
