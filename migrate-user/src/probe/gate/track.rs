//! What tracks the writes to a process's memory, opened in the source's tasks.
//!
//! A userfaultfd tracks the memory of the process that opens it, and takes a descriptor for as long as the agent needs to take it over. So a
//! task of the container makes two calls of the agent's in its own name, at a moment when no other task of its process can see that:
//!
//! * of a process with one task, when the agent wants to know what it writes ([`Recorder::ask_for`](crate::probe::Recorder::ask_for)): held
//!   behind its next call;
//! * of others when they make their second task: that one has not moved, and its maker stands in the call.
//!
//! How it does so without a trace: [`super::standing`].

use super::standing::{Failed, Standing};
use super::{Gate, GateEvent};
use crate::sys::kcmp;
use crate::sys::ptrace::{self, Pid};
use crate::sys::threads;
use crate::sys::userfaultfd::{self, Userfaultfd};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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
        (threads::of(tgid).count() == 2).then_some(tgid)
    }

    /// The agent has asked for a task, which stands behind a call. Others of its process would see what it does.
    pub(super) fn asked(&mut self, pid: Pid) {
        if threads::of(pid).count() == 1 && self.shares_table_with_nobody(pid) {
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
        let opened = Standing::of(pid, self.fate, &self.lone)
            .and_then(|standing| standing.aside(&recorder, slot, |standing| open_and_close(standing, tgid)));
        match opened {
            Ok(writes) => tracks.insert(tgid, writes),
            Err(failed @ Failed::Kept(_)) => {
                let why = format!("process {tgid} has become another: {failed}");
                (self.tell)(GateEvent::NotMigratable { host_tid: pid.unsigned_abs(), why });
            }
            Err(Failed::Ended(stop)) => {
                // What becomes of its end fails only for one that is gone.
                let _ = self.handle(pid, stop);
            }
            Err(failed) => tracing::debug!(pid, %failed, "writes to a process's memory are not tracked"),
        }
    }
}

/// Has the task open a userfaultfd, takes it over, and has the task close it.
fn open_and_close(standing: &mut Standing, tgid: Pid) -> Result<Userfaultfd, Failed> {
    let word = |word: i32| i64::from(word).cast_unsigned();
    let result = standing.call(libc::SYS_userfaultfd, [word(userfaultfd::OPEN_FLAGS), 0, 0, 0, 0, 0])?;
    let descriptor = userfaultfd::opened(result)?;
    let taken = Userfaultfd::take_over(tgid, descriptor);
    match standing.call(libc::SYS_close, [word(descriptor), 0, 0, 0, 0, 0]) {
        Ok(0) => Ok(taken?),
        Err(failed @ (Failed::Gone | Failed::Ended(_))) => Err(failed),
        _ => Err(Failed::Kept(descriptor)),
    }
}
