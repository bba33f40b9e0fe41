//! The clocks as the container reads them.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// One reading of the clocks, in nanoseconds, shifted as the container's time namespace shifts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    pub realtime_ns: i64,
    pub monotonic_ns: i64,
    pub boottime_ns: i64,
}

impl Clocks {
    /// Reads the clocks as the process `host_pid` sees them.
    ///
    /// # Errors
    /// `ENOENT` if there is no such process.
    pub fn of(host_pid: i32) -> io::Result<Self> {
        let theirs = offsets(&host_pid.to_string())?;
        let ours = offsets("self")?;
        Ok(Self {
            realtime_ns: now(ClockId::Realtime),
            monotonic_ns: now(ClockId::Monotonic) - ours.0 + theirs.0,
            boottime_ns: now(ClockId::Boottime) - ours.1 + theirs.1,
        })
    }

    /// What one of them said, by its number (time.h). `None`: it is none of them, but CPU time, say.
    #[must_use]
    pub const fn of_clock(&self, clock: i32) -> Option<i64> {
        match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM => Some(self.realtime_ns),
            libc::CLOCK_MONOTONIC => Some(self.monotonic_ns),
            libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => Some(self.boottime_ns),
            _ => None,
        }
    }
}

fn now(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// What a time namespace adds to CLOCK_MONOTONIC and CLOCK_BOOTTIME; zeros where the kernel has no time namespaces.
fn offsets(process: &str) -> io::Result<(i64, i64)> {
    let text = match std::fs::read_to_string(format!("/proc/{process}/timens_offsets")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && std::fs::exists(format!("/proc/{process}"))? => {
            return Ok((0, 0));
        }
        Err(error) => return Err(error),
    };
    Ok(parse_offsets(&text))
}

fn parse_offsets(text: &str) -> (i64, i64) {
    let mut offsets = (0, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(clock), Some(Ok(seconds)), Some(Ok(nanoseconds))) =
            (words.next(), words.next().map(str::parse::<i64>), words.next().map(str::parse::<i64>))
        else {
            continue;
        };
        let offset = seconds * 1_000_000_000 + nanoseconds;
        match clock {
            "monotonic" | "1" => offsets.0 = offset,
            "boottime" | "7" => offsets.1 = offset,
            _ => {}
        }
    }
    offsets
}

/// Nanoseconds as a `timespec`; what lies in the past is one nanosecond ahead, because zero disarms a timer.
pub(super) fn at_least_a_nanosecond(ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_by_clock_name_with_their_sign() {
        let text = "monotonic           0         5\nboottime          -10  999999999\n";
        assert_eq!(parse_offsets(text), (5, -9_000_000_001));
    }
}
