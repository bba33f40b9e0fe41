//! What the drain counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the drain has seen and what that has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records and pieces taken out.
    pub entries: u64,
    /// Bytes taken out, the ring's own headers included.
    pub bytes: u64,
    /// Batches given to sinks.
    pub batches: u64,
    /// How often the thread slept and went on: because a program woke it, a command came, or its time was over.
    pub wake_ups: u64,
    /// Processor time of the thread, in ns, as of its last sleep.
    pub cpu_ns: u64,
    /// Bytes that wait in the ring, as of the last look.
    pub waiting_bytes: u64,
    /// The most that waited in the ring at a time, in bytes.
    pub most_waiting_bytes: u64,
    /// Bytes that sinks were given and have not dropped.
    pub queued_bytes: u64,
    /// Entries that no sink wanted: of containers that are no longer recorded.
    pub unclaimed: u64,
    /// Entries that are not records. Their containers' logs have a gap.
    pub malformed: u64,
}

/// [`Stats`], while they are counted. Written by the drain's thread only.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) wake_ups: AtomicU64,
    pub(super) cpu_ns: AtomicU64,
    pub(super) waiting_bytes: AtomicU64,
    pub(super) most_waiting_bytes: AtomicU64,
    pub(super) unclaimed: AtomicU64,
    pub(super) malformed: AtomicU64,
}

impl Shared {
    pub(super) fn stats(&self, queued_bytes: u64) -> Stats {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Stats {
            entries: get(&self.entries),
            bytes: get(&self.bytes),
            batches: get(&self.batches),
            wake_ups: get(&self.wake_ups),
            cpu_ns: get(&self.cpu_ns),
            waiting_bytes: get(&self.waiting_bytes),
            most_waiting_bytes: get(&self.most_waiting_bytes),
            queued_bytes,
            unclaimed: get(&self.unclaimed),
            malformed: get(&self.malformed),
        }
    }
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, n: u64) {
    if n > 0 {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Processor time of the calling thread, in ns.
pub(crate) fn thread_cpu_ns() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    (spent.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(spent.tv_nsec as u64)
}
