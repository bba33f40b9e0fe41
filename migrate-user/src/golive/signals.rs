//! Signals that are queued and not delivered.

use std::io;

use serde::{Deserialize, Serialize};

use super::Bytes;
use crate::sys::ptrace;
use crate::sys::signals::SignalSets;

/// What /proc/PID/status says is pending, bit `n - 1` for signal `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingMasks {
    /// For the thread.
    pub thread: u64,
    /// For the process.
    pub process: u64,
}

/// One task's queued signals, each a `siginfo_t` of 128 bytes, in queue order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSignals {
    pub ns_tid: i32,
    pub thread: Vec<Bytes>,
    pub process: Vec<Bytes>,
}

impl PendingSignals {
    /// The signals that `masks` names and this list lacks: queued without siginfo because memory was short, or never asked for.
    #[must_use]
    pub fn missing(&self, masks: PendingMasks) -> PendingMasks {
        PendingMasks { thread: masks.thread & !numbers(&self.thread), process: masks.process & !numbers(&self.process) }
    }
}

fn numbers(list: &[Bytes]) -> u64 {
    let number = |info: &Bytes| info.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
    list.iter().filter_map(number).filter(|number| (1..=64).contains(number)).fold(0, |mask, number| mask | 1 << (number - 1))
}

/// Reads the masks; any process may ask.
///
/// # Errors
/// As [`SignalSets::of`].
pub fn pending_masks(host_pid: i32) -> io::Result<PendingMasks> {
    let SignalSets { thread, process, .. } = SignalSets::of(host_pid)?;
    Ok(PendingMasks { thread, process })
}

/// Reads both queues without taking anything. Only the thread that traces `host_pid` may ask, while it is in a ptrace stop.
///
/// # Errors
/// `ESRCH` when that is not so.
pub fn peek_pending(ns_tid: i32, host_pid: i32) -> io::Result<PendingSignals> {
    let queue = |shared| {
        let infos = ptrace::peek_signals(host_pid, shared).map_err(|error| error.source)?;
        Ok::<_, io::Error>(infos.iter().map(|info| Bytes(info.to_vec())).collect())
    };
    Ok(PendingSignals { ns_tid, thread: queue(false)?, process: queue(true)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_signal_without_siginfo_is_named() {
        let mut info = vec![0; ptrace::SIGINFO_BYTES];
        info[0] = 10;
        let list = PendingSignals { ns_tid: 1, thread: vec![], process: vec![Bytes(info)] };
        let masks = PendingMasks { thread: 0, process: 1 << 9 | 1 << 16 };
        assert_eq!(list.missing(masks), PendingMasks { thread: 0, process: 1 << 16 });
    }
}
