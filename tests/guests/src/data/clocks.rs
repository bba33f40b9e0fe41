//! Clocks.

use std::ptr::null_mut;

use crate::kit::clock::{MS_NS, now, ns, us};
use crate::kit::{Chain, Result, zero};

/// Every clock of the kernel. The alarm clocks only exist on machines with a real time clock.
const CLOCKS: [libc::clockid_t; 11] = [
    libc::CLOCK_REALTIME,
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_PROCESS_CPUTIME_ID,
    libc::CLOCK_THREAD_CPUTIME_ID,
    libc::CLOCK_MONOTONIC_RAW,
    libc::CLOCK_REALTIME_COARSE,
    libc::CLOCK_MONOTONIC_COARSE,
    libc::CLOCK_BOOTTIME,
    libc::CLOCK_REALTIME_ALARM,
    libc::CLOCK_BOOTTIME_ALARM,
    libc::CLOCK_TAI,
];

/// Clocks that never go back.
const STEADY: [libc::clockid_t; 6] = [
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_PROCESS_CPUTIME_ID,
    libc::CLOCK_THREAD_CPUTIME_ID,
    libc::CLOCK_MONOTONIC_RAW,
    libc::CLOCK_MONOTONIC_COARSE,
    libc::CLOCK_BOOTTIME,
];

/// Every clock by the C library's function (the vDSO, where it is not hidden): steady ones never go back, resolutions are sane.
pub fn clock_gettime(chain: &mut Chain) -> Result {
    for clock in CLOCKS {
        let mut time: libc::timespec = zero();
        let result = plain!(clock_gettime(clock, &raw mut time));
        chain.num(result);
        if result == 0 {
            check!((0..1_000_000_000).contains(&time.tv_nsec), "clock {clock} has {} ns", time.tv_nsec);
            chain.num(ns(&time));
            let mut step: libc::timespec = zero();
            sys!(clock_getres(clock, &raw mut step))?;
            check!((1..=100 * MS_NS).contains(&ns(&step)), "clock {clock} has steps of {} ns", ns(&step));
            chain.num(ns(&step));
        }
    }
    for clock in STEADY {
        let mut last = now(clock)?;
        for _ in 0..20 {
            let next = now(clock)?;
            check!(next >= last, "clock {clock} went back from {last} to {next}");
            chain.num(next);
            last = next;
        }
    }
    let awake = now(libc::CLOCK_MONOTONIC)?;
    check!(now(libc::CLOCK_BOOTTIME)? >= awake, "boot time is behind monotonic time");
    let mut time: libc::timespec = zero();
    fails!(EINVAL, clock_gettime(77, &raw mut time))
}

/// The same clocks by system calls: they agree with what the C library says, so a clock that reaches the program past the system
/// calls would show.
pub fn clock_raw(chain: &mut Chain) -> Result {
    for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_MONOTONIC_RAW, libc::CLOCK_BOOTTIME, libc::CLOCK_TAI] {
        for _ in 0..10 {
            let before = now(clock)?;
            let mut time: libc::timespec = zero();
            raw!(SYS_clock_gettime, clock, &raw mut time)?;
            let after = now(clock)?;
            let between = ns(&time);
            check!(before <= between && between <= after, "clock {clock}: {before} {between} {after}");
            [before, between, after].into_iter().for_each(|time| chain.num(time));
        }
    }
    let parent = plain!(getppid()).max(1);
    let mut process: libc::clockid_t = 0;
    check_eq!(plain!(clock_getcpuclockid(parent, &raw mut process)), 0, "CPU clock of the parent");
    let mut time: libc::timespec = zero();
    // A parent of another user or outside the container may be out of reach.
    chain.num(plain!(clock_gettime(process, &raw mut time)));
    chain.num(ns(&time));
    Ok(())
}

/// `gettimeofday` and `time`, by the C library and by number, agree with CLOCK_REALTIME.
pub fn gettimeofday(chain: &mut Chain) -> Result {
    for _ in 0..10 {
        let before = now(libc::CLOCK_REALTIME)?;
        let (mut first, mut second): (libc::timeval, libc::timeval) = (zero(), zero());
        let mut zone = [0i32; 2];
        sys!(gettimeofday(&raw mut first, null_mut()))?;
        raw!(SYS_gettimeofday, &raw mut second, zone.as_mut_ptr())?;
        let after = now(libc::CLOCK_REALTIME)?;
        check!(
            before / 1000 <= us(&first) && us(&first) <= us(&second) && us(&second) <= after / 1000,
            "gettimeofday is outside"
        );
        let mut stored = 0i64;
        let seconds = plain!(time(null_mut()));
        let again = raw!(SYS_time, &raw mut stored)?;
        check_eq!(again, stored, "time's result and what it stored");
        // The seconds come from the clock's last tick.
        check!((before / 1_000_000_000 - 1..=after / 1_000_000_000 + 1).contains(&seconds), "time() is {seconds}");
        for value in [before, us(&first), us(&second), after, seconds, again, i64::from(zone[0])] {
            chain.num(value);
        }
    }
    Ok(())
}

/// Two thousand clock reads in a row, the pattern of a busy server: each one is in the chain.
pub fn clock_loop(chain: &mut Chain) -> Result {
    let mut last = 0;
    for _ in 0..2000 {
        let next = now(libc::CLOCK_MONOTONIC)?;
        check!(next >= last, "monotonic time went back from {last} to {next}");
        chain.num(next);
        last = next;
    }
    let started = std::time::Instant::now();
    let date = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    chain.num(date.as_nanos() as u64);
    chain.num(started.elapsed().as_nanos() as u64);
    Ok(())
}
