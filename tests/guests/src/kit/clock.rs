//! Clocks in nanoseconds.

use crate::kit::{Result, zero};

/// A second in nanoseconds.
pub const SECOND_NS: i64 = 1_000_000_000;
/// A millisecond in nanoseconds.
pub const MS_NS: i64 = 1_000_000;

/// By how much an interrupted sleep may say that more is left than was asked for: the kernel counts the timer slack (50 us) in.
pub const SLACK_NS: i64 = 100_000;

/// Nanoseconds of a time.
#[must_use]
pub fn ns(time: &libc::timespec) -> i64 {
    time.tv_sec * SECOND_NS + time.tv_nsec
}

/// Microseconds of a time.
#[must_use]
pub fn us(time: &libc::timeval) -> i64 {
    time.tv_sec * 1_000_000 + time.tv_usec
}

/// A time of so many nanoseconds.
#[must_use]
pub fn timespec(ns: i64) -> libc::timespec {
    libc::timespec { tv_sec: ns / SECOND_NS, tv_nsec: ns % SECOND_NS }
}

/// A time of so many microseconds.
#[must_use]
pub fn timeval(us: i64) -> libc::timeval {
    libc::timeval { tv_sec: us / 1_000_000, tv_usec: us % 1_000_000 }
}

/// A clock, read as programs do: through the vDSO when there is one.
pub fn now(clock: libc::clockid_t) -> Result<i64> {
    let mut time: libc::timespec = zero();
    sys!(clock_gettime(clock, &raw mut time))?;
    Ok(ns(&time))
}

/// CLOCK_MONOTONIC.
pub fn monotonic() -> Result<i64> {
    now(libc::CLOCK_MONOTONIC)
}

/// Sleeps at least so long, signals or not.
pub fn sleep_ms(ms: i64) -> Result {
    let until = timespec(monotonic()? + ms * MS_NS);
    // It returns its error instead of setting errno.
    while plain!(clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut()))
        == libc::EINTR
    {}
    Ok(())
}
