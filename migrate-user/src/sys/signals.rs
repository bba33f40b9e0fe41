//! Signals of another task: the sets of proc(5), and what a siginfo says of a signal's origin.

use super::ptrace::{Pid, SIGINFO_BYTES};
use std::io;

/// A task's sets of signals, bit `n - 1` for signal `n`, as they were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSets {
    /// Pending for the task alone.
    pub thread: u64,
    /// Pending for its process.
    pub process: u64,
    pub blocked: u64,
    /// Those that have a handler.
    pub caught: u64,
}

impl SignalSets {
    /// Reads /proc/PID/status; any process may ask.
    ///
    /// # Errors
    /// `ENOENT` or `ESRCH` if there is no such task.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        Self::parse(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a status without sets of signals"))
    }

    fn parse(status: &str) -> Option<Self> {
        let set = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            u64::from_str_radix(value.trim(), 16).ok()
        };
        Some(Self { thread: set("SigPnd")?, process: set("ShdPnd")?, blocked: set("SigBlk")?, caught: set("SigCgt")? })
    }

    /// Something is pending that is not blocked: it comes before the task's next instruction.
    #[must_use]
    pub fn deliverable(&self) -> bool {
        (self.thread | self.process) & !self.blocked != 0
    }

    /// The signal has a handler.
    #[must_use]
    pub fn has_handler(&self, signal: i32) -> bool {
        (1..=64).contains(&signal) && self.caught & (1 << (signal - 1)) != 0
    }
}

/// `si_code`: above 0 where the kernel made the signal.
#[must_use]
pub fn siginfo_code(info: &[u8; SIGINFO_BYTES]) -> i32 {
    i32::from_ne_bytes([info[8], info[9], info[10], info[11]])
}

/// True for a signal that the task's own instruction raised: a replica raises it too, at the same place.
#[must_use]
pub fn raised_by_itself(signal: i32, info: &[u8; SIGINFO_BYTES]) -> bool {
    is_synchronous(signal) && siginfo_code(info) > 0
}

/// True for a signal that an instruction can raise. Others may send it too: see [`raised_by_itself`].
#[must_use]
pub fn is_synchronous(signal: i32) -> bool {
    matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP | libc::SIGSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tsleep\nSigQ:\t0/7\nSigPnd:\t0000000000000200\nShdPnd:\t0000000000000400\n\
        SigBlk:\t0000000000000200\nSigIgn:\t0000000000001000\nSigCgt:\t8000000000000400\nCapInh:\t0000000000000000\n";

    #[test]
    fn all_sets_come_from_one_look() {
        let sets = SignalSets::parse(STATUS).unwrap();
        assert_eq!(sets, SignalSets { thread: 0x200, process: 0x400, blocked: 0x200, caught: 1 << 63 | 0x400 });
        assert!(sets.has_handler(11) && sets.has_handler(64) && !sets.has_handler(10));
        assert_eq!(SignalSets::parse("Name:\tsleep\n"), None);
    }

    #[test]
    fn only_an_unblocked_signal_can_be_delivered() {
        let sets = SignalSets::parse(STATUS).unwrap();
        assert!(sets.deliverable());
        assert!(!SignalSets { process: 0, ..sets }.deliverable());
    }

    #[test]
    fn a_fault_that_somebody_sent_was_not_raised_by_the_task() {
        let mut info = [0; SIGINFO_BYTES];
        info[8..12].copy_from_slice(&1_i32.to_ne_bytes());
        assert!(raised_by_itself(libc::SIGSEGV, &info));
        assert!(!raised_by_itself(libc::SIGALRM, &info));
        info[8..12].copy_from_slice(&libc::SI_USER.to_ne_bytes());
        assert!(!raised_by_itself(libc::SIGSEGV, &info));
    }
}
