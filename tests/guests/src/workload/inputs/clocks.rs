//! Clocks and sleeps.

use crate::kit::call::errno;
use crate::kit::clock::{MS_NS, SLACK_NS, monotonic, now, ns, timespec, timeval, us};
use crate::kit::{Chain, Result, zero};

/// Clocks that go on, never back, even on another host.
const STEADY: [libc::clockid_t; 3] = [libc::CLOCK_MONOTONIC, libc::CLOCK_MONOTONIC_COARSE, libc::CLOCK_BOOTTIME];
/// Clocks that are only taken into the chain.
const OTHERS: [libc::clockid_t; 6] = [
    libc::CLOCK_REALTIME,
    libc::CLOCK_REALTIME_COARSE,
    libc::CLOCK_MONOTONIC_RAW,
    libc::CLOCK_PROCESS_CPUTIME_ID,
    libc::CLOCK_THREAD_CPUTIME_ID,
    libc::CLOCK_TAI,
];

/// The steady clocks' last values.
#[derive(Debug)]
pub struct Clocks {
    last: [i64; 3],
}

impl Clocks {
    /// Reads them for the first time.
    pub fn new() -> Result<Self> {
        Ok(Self { last: [now(STEADY[0])?, now(STEADY[1])?, now(STEADY[2])?] })
    }

    /// Reads all clocks, and sleeps twice.
    pub fn step(&mut self, chain: &mut Chain) -> Result {
        for (clock, last) in STEADY.into_iter().zip(&mut self.last) {
            let time = now(clock)?;
            check!(time >= *last, "clock {clock} went back from {last} to {time}");
            *last = time;
            chain.num(time);
        }
        for clock in OTHERS {
            chain.num(now(clock)?);
        }
        let mut day: libc::timeval = zero();
        sys!(gettimeofday(&raw mut day, std::ptr::null_mut()))?;
        chain.num(us(&day));
        chain.num(plain!(time(std::ptr::null_mut())));
        let mut ticks: libc::tms = zero();
        chain.num(plain!(times(&raw mut ticks)));
        let mut usage: libc::rusage = zero();
        sys!(getrusage(libc::RUSAGE_SELF, &raw mut usage))?;
        chain.num(us(&usage.ru_utime));
        chain.num(usage.ru_nvcsw);
        sleep(chain)?;
        select(chain)
    }
}

/// `nanosleep` to its end, signals or not: what is left never grows, and all of it takes at least the time.
fn sleep(chain: &mut Chain) -> Result {
    let wanted = 2 * MS_NS;
    let start = monotonic()?;
    let (mut rest, mut left) = (timespec(wanted), timespec(wanted));
    while plain!(nanosleep(&raw const rest, &raw mut left)) == -1 {
        check_eq!(errno(), libc::EINTR, "error of nanosleep");
        check!(ns(&left) <= ns(&rest) + SLACK_NS, "{} ns left of {}", ns(&left), ns(&rest));
        chain.num(ns(&left));
        rest = left;
    }
    let slept = monotonic()? - start;
    check!(slept >= wanted, "slept {slept} ns instead of {wanted}");
    chain.num(slept);
    Ok(())
}

/// `select` on nothing: a sleep that a signal may end.
fn select(chain: &mut Chain) -> Result {
    let start = monotonic()?;
    let mut left = timeval(1_500);
    let none = std::ptr::null_mut();
    let result = plain!(select(0, none, none, none, &raw mut left));
    let passed = monotonic()? - start;
    if result == -1 {
        check_eq!(errno(), libc::EINTR, "error of select");
    } else {
        check!(passed >= 1_500_000, "select ended after {passed} ns");
        check_eq!(us(&left), 0, "time left");
    }
    chain.num(passed);
    chain.num(us(&left));
    Ok(())
}
