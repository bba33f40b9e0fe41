//! Waits of a gate for one task alone: it hears no question meanwhile. Where the container is frozen such a wait lasts until it is thawed.

use crate::sys::ptrace::{self, Pid, Wait, Waited};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts them; odd while there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct LoneWaits(Arc<AtomicU64>);

impl LoneWaits {
    /// Waits for the next stop of a task. On the gate's thread.
    pub(super) fn wait(&self, pid: Pid) -> io::Result<Waited> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let stopped = ptrace::wait(Wait::For(pid), false);
        self.0.fetch_add(1, Ordering::Relaxed);
        stopped
    }

    /// Which one the gate is in.
    pub(super) fn current(&self) -> Option<u64> {
        let count = self.0.load(Ordering::Relaxed);
        (count % 2 == 1).then_some(count)
    }
}
