//! timerfd: when it fires next, and how often it fired unread.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use serde::{Deserialize, Serialize};

use super::clocks::at_least_a_nanosecond;
use super::error::During;
use super::fdinfo::{FdInfo, unexpected};
use super::{Clocks, Obstacle, Task};

nix::ioctl_write_ptr!(
    /// Sets how often a timerfd fired unread (linux/timerfd.h; needs `CONFIG_CHECKPOINT_RESTORE`).
    timerfd_set_ticks,
    b'T',
    0,
    u64
);

/// A timerfd's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerFd {
    /// CLOCK_REALTIME (0), CLOCK_MONOTONIC (1), CLOCK_BOOTTIME (7) or their alarm variants (8, 9).
    pub clock: i32,
    /// `TFD_TIMER_ABSTIME` (1) and `TFD_TIMER_CANCEL_ON_SET` (2), as last set.
    pub settime_flags: i32,
    /// When it fires next on its clock as the container reads it, in nanoseconds; `None` when disarmed.
    pub deadline_ns: Option<i64>,
    /// 0 for a timer that fires once.
    pub interval_ns: u64,
    /// Expirations not read yet.
    pub ticks: u64,
}

fn parse(info: &FdInfo, clocks: &Clocks) -> Option<TimerFd> {
    let time = |name| -> Option<i64> {
        let (seconds, nanoseconds) = info.field(name)?.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
        Some(seconds.trim().parse::<i64>().ok()? * 1_000_000_000 + nanoseconds.trim().parse::<i64>().ok()?)
    };
    let clock = info.field("clockid")?.parse().ok()?;
    let now = clocks.of_clock(clock)?;
    let left = time("it_value")?;
    Some(TimerFd {
        clock,
        settime_flags: i32::from_str_radix(info.field("settime flags")?, 8).ok()?,
        deadline_ns: (left > 0).then(|| now + left),
        interval_ns: u64::try_from(time("it_interval")?).ok()?,
        ticks: info.field("ticks")?.parse().ok()?,
    })
}

/// Reads a timer without taking its expirations.
///
/// # Errors
/// An unreadable fdinfo.
pub(super) fn capture(task: Task, fd: RawFd, held: BorrowedFd<'_>, clocks: &Clocks) -> Result<TimerFd, Obstacle> {
    // A periodic timer that fired stands still until somebody asks; asking counts the periods that passed and starts it
    // again in phase, which is what the program's own next read would do.
    // SAFETY: all zeros is a valid itimerspec.
    let mut current: libc::itimerspec = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one itimerspec to `current`.
    if unsafe { libc::timerfd_gettime(held.as_raw_fd(), &mut current) } != 0 {
        return Err(std::io::Error::last_os_error()).during("reading the timer");
    }
    let info = FdInfo::read(task.host_pid, fd).during("reading fdinfo")?;
    parse(&info, clocks).ok_or_else(|| unexpected("timer")).during("reading fdinfo")
}

/// Arms the replica's timer for the time that is left, as its own clocks say.
///
/// # Errors
/// A failing timerfd_settime or, for unread expirations, ioctl.
pub(super) fn restore(held: BorrowedFd<'_>, timer: &TimerFd, clocks: &Clocks) -> Result<(), Obstacle> {
    // A wall clock deadline stays one: the target's wall clock is the truth there, and only such a timer can be cancelled
    // when that clock is set. Others get the time left, which is free of the offsets of time namespaces.
    let absolute = timer.clock == libc::CLOCK_REALTIME && timer.settime_flags & libc::TFD_TIMER_ABSTIME != 0;
    let flags = if absolute { timer.settime_flags } else { 0 };
    let value = match timer.deadline_ns {
        None => std::time::Duration::ZERO,
        Some(deadline) if absolute => at_least_a_nanosecond(deadline),
        Some(deadline) => at_least_a_nanosecond(deadline - clocks.of_clock(timer.clock).unwrap_or(clocks.monotonic_ns)),
    };
    let spec =
        libc::itimerspec { it_interval: timespec(std::time::Duration::from_nanos(timer.interval_ns)), it_value: timespec(value) };
    // SAFETY: the kernel reads one itimerspec from `spec`; a null old value is allowed.
    if unsafe { libc::timerfd_settime(held.as_raw_fd(), flags, &spec, std::ptr::null_mut()) } != 0 {
        return Err(std::io::Error::last_os_error()).during("arming the timer");
    }
    if timer.ticks > 0 {
        // SAFETY: the kernel reads one u64.
        unsafe { timerfd_set_ticks(held.as_raw_fd(), &timer.ticks) }.during("setting unread expirations")?;
    }
    Ok(())
}

fn timespec(time: std::time::Duration) -> libc::timespec {
    libc::timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_the_time_left_on_the_timers_own_clock() {
        let text = "pos:\t0\nflags:\t02\nclockid: 7\nticks: 3\nsettime flags: 01\nit_value: (2, 500)\nit_interval: (0, 10)\n";
        let clocks = Clocks { realtime_ns: 1, monotonic_ns: 10, boottime_ns: 100 };
        let timer = parse(&FdInfo::from_text(text), &clocks).unwrap();
        let wanted = TimerFd { clock: 7, settime_flags: 1, deadline_ns: Some(2_000_000_600), interval_ns: 10, ticks: 3 };
        assert_eq!(timer, wanted);
    }
}
