//! An end to waits for a stop, which have no timeout.

use crate::sys::ptrace::{self, Pid};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a task is stopped again that went on from the first stop.
const AGAIN: Duration = Duration::from_millis(10);

/// Stops a task that has not come anywhere when its time is over. Its thread starts with the first use and stays: mostly there is
/// nothing to stop, and setting it costs no more than a lock.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    until: Option<Instant>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    watched: Option<(Pid, Instant)>,
    /// When the thread looks again by itself.
    wakes: Option<Instant>,
    closed: bool,
}

impl Alarm {
    /// From then on the task is stopped, until [`Alarm::clear`].
    pub(super) fn set(&mut self, pid: Pid, bound: Duration) {
        let until = Instant::now() + bound;
        self.until = Some(until);
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            self.thread = Some(std::thread::spawn(move || shared.watch()));
        }
        let mut state = self.shared.state();
        state.watched = Some((pid, until));
        if state.wakes.is_none_or(|wakes| wakes > until) {
            self.shared.changed.notify_one();
        }
    }

    pub(super) fn clear(&mut self) {
        self.until = None;
        self.shared.state().watched = None;
    }

    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.state();
        while !state.closed {
            let now = Instant::now();
            let wait = state.watched.map(|(pid, until)| {
                let left = until.saturating_duration_since(now);
                if left.is_zero() {
                    // The one signal that no task blocks; its tracer swallows it. If the task is gone there is nobody to stop.
                    drop(ptrace::tkill(pid, libc::SIGSTOP));
                    return AGAIN;
                }
                left
            });
            state.wakes = wait.map(|wait| now + wait);
            state = match wait {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot panic.
            drop(thread.join());
        }
    }
}
