//! Signals that are queued and not delivered.

use std::io;

use serde::{Deserialize, Serialize};

use super::Bytes;
use super::fdinfo::unexpected;

const PTRACE_PEEKSIGINFO: libc::c_uint = 0x4209;
const PTRACE_PEEKSIGINFO_SHARED: u32 = 1;
const SIGINFO: usize = 128;
const AT_ONCE: usize = 32;

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
/// `ENOENT` if there is no such process.
pub fn pending_masks(host_pid: i32) -> io::Result<PendingMasks> {
    let text = std::fs::read_to_string(format!("/proc/{host_pid}/status"))?;
    let mask = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(value.trim(), 16).ok()
    };
    Ok(PendingMasks {
        thread: mask("SigPnd:").ok_or_else(|| unexpected("SigPnd"))?,
        process: mask("ShdPnd:").ok_or_else(|| unexpected("ShdPnd"))?,
    })
}

/// Reads both queues without taking anything. Only the thread that traces `host_pid` may ask, while it is in a ptrace stop.
///
/// # Errors
/// `ESRCH` when that is not so.
pub fn peek_pending(ns_tid: i32, host_pid: i32) -> io::Result<PendingSignals> {
    Ok(PendingSignals { ns_tid, thread: peek_queue(host_pid, 0)?, process: peek_queue(host_pid, PTRACE_PEEKSIGINFO_SHARED)? })
}

fn peek_queue(host_pid: i32, flags: u32) -> io::Result<Vec<Bytes>> {
    /// `struct ptrace_peeksiginfo_args` of linux/ptrace.h.
    #[repr(C)]
    struct Which {
        offset: u64,
        flags: u32,
        count: i32,
    }

    let mut queue = Vec::new();
    loop {
        let which = Which { offset: queue.len() as u64, flags, count: AT_ONCE as i32 };
        let mut infos = [0u8; SIGINFO * AT_ONCE];
        // SAFETY: the kernel reads `which` and writes at most `count` siginfo_t of 128 bytes to `infos`.
        let got = unsafe { libc::ptrace(PTRACE_PEEKSIGINFO, host_pid, &which, infos.as_mut_ptr()) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        queue.extend(infos.chunks_exact(SIGINFO).take(got).map(|info| Bytes(info.to_vec())));
        if got < AT_ONCE {
            return Ok(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_signal_without_siginfo_is_named() {
        let mut info = vec![0; SIGINFO];
        info[0] = 10;
        let list = PendingSignals { ns_tid: 1, thread: vec![], process: vec![Bytes(info)] };
        let masks = PendingMasks { thread: 0, process: 1 << 9 | 1 << 16 };
        assert_eq!(list.missing(masks), PendingMasks { thread: 0, process: 1 << 16 });
    }
}
