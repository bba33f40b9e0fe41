//! `timer_create` with a signal.

use std::ptr::null_mut;

use crate::kit::clock::{MS_NS, monotonic, ns, sleep_ms, timespec};
use crate::kit::{Chain, Result, signal, zero};

fn create(clock: libc::clockid_t, number: i32, value: usize) -> Result<libc::timer_t> {
    let mut event: libc::sigevent = zero();
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = number;
    event.sigev_value = libc::sigval { sival_ptr: value as *mut _ };
    let mut timer: libc::timer_t = null_mut();
    sys!(timer_create(clock, &raw mut event, &raw mut timer))?;
    Ok(timer)
}

fn arm(timer: libc::timer_t, flags: i32, first: i64, every: i64) -> Result {
    let times = libc::itimerspec { it_interval: timespec(every), it_value: timespec(first) };
    sys!(timer_settime(timer, flags, &raw const times, null_mut())).map(drop)
}

/// Two timers with their values: each signal carries its own, none comes early.
pub fn signal(chain: &mut Chain) -> Result {
    let number = libc::SIGRTMIN() + 3;
    signal::watch(number, 0)?;
    let before = monotonic()?;
    let first = create(libc::CLOCK_MONOTONIC, number, 0x1234_5678_9abc)?;
    let second = create(libc::CLOCK_MONOTONIC, number, 77)?;
    arm(first, 0, 5 * MS_NS, 0)?;
    arm(second, libc::TIMER_ABSTIME, before + 12 * MS_NS, 0)?;
    let mut rest: libc::itimerspec = zero();
    sys!(timer_gettime(second, &raw mut rest))?;
    check!(ns(&rest.it_value) <= 12 * MS_NS, "{} ns left", ns(&rest.it_value));
    chain.num(ns(&rest.it_value));
    while signal::count() < 2 {
        sleep_ms(1)?;
    }
    check!(monotonic()? - before >= 12 * MS_NS, "the second came early");
    let seen = signal::take(chain);
    check_eq!(seen.iter().map(|one| one.code).collect::<Vec<_>>(), [libc::SI_TIMER; 2], "codes");
    let mut values: Vec<u64> = seen.iter().map(|one| one.value).collect();
    values.sort_unstable();
    check_eq!(values, [77, 0x1234_5678_9abc], "values");
    sys!(timer_delete(first))?;
    sys!(timer_delete(second)).map(drop)
}

/// A blocked signal of an interval timer is queued once; the overrun counts the rest.
pub fn overrun(chain: &mut Chain) -> Result {
    let number = libc::SIGRTMIN() + 4;
    signal::watch(number, 0)?;
    let timer = create(libc::CLOCK_MONOTONIC, number, 5)?;
    signal::block(&[number])?;
    arm(timer, 0, 2 * MS_NS, 2 * MS_NS)?;
    sleep_ms(15)?;
    check!(signal::has(&signal::pending()?, number), "the signal is not pending");
    let set = signal::set(&[number]);
    let mut info: libc::siginfo_t = zero();
    check_eq!(sys!(sigwaitinfo(&raw const set, &raw mut info))?, number, "signal");
    let over = sys!(timer_getoverrun(timer))?;
    check!(over >= 5, "overrun {over} after 15 ms");
    chain.num(over);
    arm(timer, 0, 0, 0)?;
    sys!(timer_delete(timer))?;
    signal::unblock(&[number])?;
    signal::take(chain);
    Ok(())
}
