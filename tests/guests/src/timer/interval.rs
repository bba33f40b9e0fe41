//! `alarm` and `setitimer`: timers that end in a signal.

use std::hint::black_box;
use std::ptr::null_mut;

use crate::kit::clock::{MS_NS, monotonic, timeval, us};
use crate::kit::{Chain, Result, fd, signal, zero};

fn times(first_us: i64, every_us: i64) -> libc::itimerval {
    libc::itimerval { it_interval: timeval(every_us), it_value: timeval(first_us) }
}

fn set(which: i32, first_us: i64, every_us: i64) -> Result {
    sys!(setitimer(which, &times(first_us, every_us), null_mut())).map(drop)
}

/// `alarm` says what was left of the one before, and shares its timer with ITIMER_REAL, which fires not early.
pub fn alarm(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGALRM, 0)?;
    check_eq!(plain!(alarm(100)), 0, "seconds left of no alarm");
    let left = plain!(alarm(50));
    check!((99..=100).contains(&left), "{left} seconds left of 100");
    let mut now: libc::itimerval = zero();
    sys!(getitimer(libc::ITIMER_REAL, &raw mut now))?;
    check!(us(&now.it_value) > 48_000_000 && us(&now.it_value) <= 50_000_000, "{} us left of 50 s", us(&now.it_value));
    chain.num(us(&now.it_value));
    check_eq!(plain!(alarm(0)), 50, "seconds left, rounded");
    check_eq!(plain!(alarm(0)), 0, "seconds left of a cancelled alarm");
    check_eq!(signal::count(), 0, "signals so far");

    let before = monotonic()?;
    let unblocked = signal::block(&[libc::SIGALRM])?;
    set(libc::ITIMER_REAL, 8_000, 0)?;
    fails!(EINTR, sigsuspend(&raw const unblocked))?;
    check!(monotonic()? - before >= 8 * MS_NS, "the signal came early");
    chain.num(monotonic()?);
    let signals = signal::take(chain);
    check_eq!(signals.len(), 1, "signals");
    check_eq!((signals[0].signal, signals[0].code), (libc::SIGALRM, libc::SI_KERNEL), "signal and code");
    Ok(())
}

/// ITIMER_REAL every 1 to 10 ms: never more signals than intervals have passed.
pub fn itimer_real(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGALRM, libc::SA_RESTART)?;
    for every_ms in [1, 3, 10] {
        let before = monotonic()?;
        set(libc::ITIMER_REAL, every_ms * 1000, every_ms * 1000)?;
        while signal::count() < 8 {
            plain!(pause());
            let passed = monotonic()? - before;
            check!(signal::count() as i64 * every_ms * MS_NS <= passed, "{} signals in {passed} ns", signal::count());
            chain.num(passed);
        }
        set(libc::ITIMER_REAL, 0, 0)?;
        signal::take(chain);
    }
    Ok(())
}

/// Signals every millisecond while the process makes system calls: none of the calls is disturbed.
pub fn itimer_calls(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGALRM, libc::SA_RESTART)?;
    let (read, write) = fd::pipe()?;
    set(libc::ITIMER_REAL, 1_000, 1_000)?;
    let mut rounds = 0u64;
    while signal::count() < 60 {
        let sent = chain.data(64);
        fd::write_all(write, &sent)?;
        check_eq!(fd::read_exact(read, 64)?, sent, "bytes through the pipe");
        check_eq!(raw!(SYS_getppid)?, i64::from(plain!(getppid())), "parent");
        chain.num(monotonic()?);
        // What the handler counted so far is part of the chain: where each signal fell matters.
        chain.num(signal::count());
        rounds += 1;
    }
    set(libc::ITIMER_REAL, 0, 0)?;
    chain.num(rounds);
    signal::take(chain);
    fd::close_all(&[read, write])
}

/// ITIMER_VIRTUAL and ITIMER_PROF count CPU time: they fire while the process computes, between calls.
pub fn itimer_cpu(chain: &mut Chain) -> Result {
    for (which, number) in [(libc::ITIMER_VIRTUAL, libc::SIGVTALRM), (libc::ITIMER_PROF, libc::SIGPROF)] {
        signal::watch(number, libc::SA_RESTART)?;
        set(which, 4_000, 4_000)?;
        let mut sum = 7u64;
        while signal::count() < 3 {
            for step in 0..5_000u64 {
                sum = black_box(sum.rotate_left(7) ^ step);
            }
            chain.num(monotonic()?);
            chain.num(signal::count());
        }
        set(which, 0, 0)?;
        chain.num(sum);
        check!(signal::take(chain).iter().all(|one| one.signal == number), "another signal than {number}");
    }
    Ok(())
}
