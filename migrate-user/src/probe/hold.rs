//! Holding tasks that fill the ring: the half of the gate's side.
//!
//! A program that finds the ring a quarter full sends its task a SIGURG, and notes it. The task stops for its tracer before it
//! returns to its own code; the tracer swallows the signal, and lets the task go on when the ring has been drained. If the tracer
//! is gone the signal does nothing to a task that has no handler for it.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Recorder;

/// How often, and for how long, tasks were held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Times that a task was held.
    pub tasks: u64,
    /// The sum of these times.
    pub held_ns: u64,
}

/// [`Holds`], while they are counted.
#[derive(Debug, Default)]
pub(super) struct Held {
    tasks: AtomicU64,
    ns: AtomicU64,
}

/// The part of the ring that is full when tasks are held.
const HOLD_PART: u64 = 4;
/// They go on when so much of that is left.
const CALM_PART: u64 = 4;

/// Bytes in a ring of this size from which on tasks are held.
pub(super) const fn hold_bytes(ring_bytes: u32) -> u64 {
    ring_bytes as u64 / HOLD_PART
}

impl Recorder {
    /// Why a program sent the SIGURG that `host_tid` stopped with, which it tells once: [`hold`](migrate_common::maps::hold). `None`:
    /// it was no program.
    #[must_use]
    pub fn takes_hold(&self, host_tid: u32) -> Option<u32> {
        let mut map = self.hold_map().lock().unwrap_or_else(PoisonError::into_inner);
        let why = map.get(&host_tid, 0).ok()?;
        map.remove(&host_tid).ok().map(|()| why)
    }

    /// Whether tasks that are held may go on.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.level().waiting() < hold_bytes(self.options().ring_bytes) / CALM_PART
    }

    /// A task has been held for so long.
    pub fn count_hold(&self, held: Duration) {
        let Held { tasks, ns } = self.held();
        tasks.fetch_add(1, Ordering::Relaxed);
        ns.fetch_add(u64::try_from(held.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How often, and for how long, tasks were held since the programs were loaded.
    #[must_use]
    pub fn holds(&self) -> Holds {
        let Held { tasks, ns } = self.held();
        Holds { tasks: tasks.load(Ordering::Relaxed), held_ns: ns.load(Ordering::Relaxed) }
    }
}
