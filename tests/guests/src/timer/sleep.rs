//! Sleeping.

use std::ptr::null_mut;

use crate::kit::clock::{MS_NS, SLACK_NS, monotonic, now, ns, timespec};
use crate::kit::process::Pester;
use crate::kit::{Chain, Result, signal, zero};

/// `nanosleep` never returns early; bad times are refused.
pub fn nanosleep(chain: &mut Chain) -> Result {
    for wanted in [0, 1, 50_000, MS_NS, 7 * MS_NS] {
        let before = monotonic()?;
        sys!(nanosleep(&timespec(wanted), null_mut()))?;
        let slept = monotonic()? - before;
        check!(slept >= wanted, "slept {slept} ns instead of {wanted}");
        chain.num(slept);
    }
    let bad = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
    fails!(EINVAL, nanosleep(&raw const bad, null_mut()))?;
    std::thread::sleep(std::time::Duration::from_millis(2));
    Ok(())
}

/// `clock_nanosleep` to a point and for a duration, by three clocks; a point in the past returns at once.
pub fn clock_nanosleep(chain: &mut Chain) -> Result {
    for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME, libc::CLOCK_TAI] {
        let before = now(clock)?;
        let point = before + 4 * MS_NS;
        check_eq!(plain!(clock_nanosleep(clock, libc::TIMER_ABSTIME, &timespec(point), null_mut())), 0, "clock {clock}");
        let after = now(clock)?;
        check!(after >= point, "clock {clock}: woke at {after} instead of {point}");
        check_eq!(plain!(clock_nanosleep(clock, 0, &timespec(3 * MS_NS), null_mut())), 0, "clock {clock}");
        let end = now(clock)?;
        check!(end >= after + 3 * MS_NS, "clock {clock}: slept {} ns", end - after);
        check_eq!(plain!(clock_nanosleep(clock, libc::TIMER_ABSTIME, &timespec(before), null_mut())), 0, "the past");
        [before, after, end].into_iter().for_each(|time| chain.num(time));
    }
    let own = libc::CLOCK_THREAD_CPUTIME_ID;
    check_eq!(plain!(clock_nanosleep(own, 0, &timespec(1), null_mut())), libc::EINVAL, "own CPU clock");
    Ok(())
}

/// A signal ends a sleep with EINTR and the time that is left; sleeping on for the rest takes at least the whole time.
pub fn nanosleep_eintr(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, 0)?;
    let wanted = 60 * MS_NS;
    let before = monotonic()?;
    let pester = Pester::start(libc::SIGUSR1, 5)?;
    let mut rest = timespec(wanted);
    let mut interrupted = 0;
    loop {
        let mut left: libc::timespec = zero();
        match plain!(clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &raw const rest, &raw mut left)) {
            0 => break,
            libc::EINTR => {
                check!(ns(&left) <= ns(&rest) + SLACK_NS, "{} ns left of {}", ns(&left), ns(&rest));
                interrupted += 1;
                chain.num(ns(&left));
                rest = left;
            }
            other => anyhow::bail!("clock_nanosleep gave {other}"),
        }
    }
    let slept = monotonic()? - before;
    check!(slept >= wanted, "slept {slept} ns instead of {wanted}");
    check!(interrupted > 0, "no sleep was interrupted");
    let mut left: libc::timespec = zero();
    fails!(EINTR, nanosleep(&timespec(5_000 * MS_NS), &raw mut left))?;
    check!(ns(&left) > 0 && ns(&left) < 5_000 * MS_NS + SLACK_NS, "{} ns left", ns(&left));
    chain.num(ns(&left));
    pester.stop(chain)?;
    let signals = signal::take(chain);
    check!(signals.len() > interrupted, "{} signals for {interrupted} interruptions", signals.len());
    Ok(())
}
