//! Timers as descriptors.

use std::ptr::null_mut;

use crate::kit::clock::{MS_NS, monotonic, now, ns, sleep_ms, timespec};
use crate::kit::{Chain, Result, fd, zero};

fn times(first: i64, every: i64) -> libc::itimerspec {
    libc::itimerspec { it_interval: timespec(every), it_value: timespec(first) }
}

/// A relative timer fires once and not early; disarming and reading the rest work.
pub fn relative(chain: &mut Chain) -> Result {
    let timer = sys!(timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC))?;
    let before = monotonic()?;
    sys!(timerfd_settime(timer, 0, &times(6 * MS_NS, 0), null_mut()))?;
    check_eq!(fd::read_u64(timer)?, 1, "expirations");
    let after = monotonic()?;
    check!(after - before >= 6 * MS_NS, "fired after {} ns", after - before);
    chain.num(after - before);

    sys!(timerfd_settime(timer, 0, &times(10_000 * MS_NS, 20 * MS_NS), null_mut()))?;
    let mut rest: libc::itimerspec = zero();
    sys!(timerfd_gettime(timer, &raw mut rest))?;
    check!(ns(&rest.it_value) > 0 && ns(&rest.it_value) <= 10_000 * MS_NS, "{} ns left", ns(&rest.it_value));
    check_eq!(ns(&rest.it_interval), 20 * MS_NS, "interval");
    chain.num(ns(&rest.it_value));
    let mut old: libc::itimerspec = zero();
    sys!(timerfd_settime(timer, 0, &times(0, 0), &raw mut old))?;
    check!(ns(&old.it_value) <= ns(&rest.it_value), "time left grew");
    chain.num(ns(&old.it_value));
    check_eq!(fd::poll_one(timer, libc::POLLIN, 5)?, 0, "events of a disarmed timer");
    fd::nonblocking(timer)?;
    let mut word = [0u8; 8];
    fails!(EAGAIN, read(timer, word.as_mut_ptr().cast(), 8))?;
    fails!(EINVAL, read(timer, word.as_mut_ptr().cast(), 4))?;
    fd::close(timer)
}

/// An absolute timer fires at its point on three clocks; a point in the past fires at once.
pub fn absolute(chain: &mut Chain) -> Result {
    for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME] {
        let timer = sys!(timerfd_create(clock, 0))?;
        let point = now(clock)? + 5 * MS_NS;
        sys!(timerfd_settime(timer, libc::TFD_TIMER_ABSTIME, &times(point, 0), null_mut()))?;
        check_eq!(fd::read_u64(timer)?, 1, "expirations");
        let after = now(clock)?;
        check!(after >= point, "clock {clock}: fired at {after} instead of {point}");
        chain.num(after);
        sys!(timerfd_settime(timer, libc::TFD_TIMER_ABSTIME, &times(point - MS_NS, 0), null_mut()))?;
        check_eq!(fd::read_u64(timer)?, 1, "expirations of a point in the past");
        fd::close(timer)?;
    }
    fails!(EINVAL, timerfd_create(libc::CLOCK_PROCESS_CPUTIME_ID, 0))
}

/// An interval timer counts what was not read; the count never says more than the time that has passed.
pub fn interval(chain: &mut Chain) -> Result {
    let timer = sys!(timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK))?;
    let before = monotonic()?;
    sys!(timerfd_settime(timer, 0, &times(2 * MS_NS, 2 * MS_NS), null_mut()))?;
    let mut fired = 0;
    while fired < 20 {
        check_eq!(fd::poll_one(timer, libc::POLLIN, 5000)?, libc::POLLIN, "events of an armed timer");
        let count = fd::read_u64(timer)?;
        let passed = monotonic()? - before;
        fired += count;
        check!(count > 0 && fired as i64 * 2 * MS_NS <= passed, "{fired} expirations in {passed} ns");
        chain.num(count);
        chain.num(passed);
    }
    sleep_ms(11)?;
    let missed = fd::read_u64(timer)?;
    check!(missed >= 5, "{missed} expirations in 11 ms");
    chain.num(missed);
    fd::close(timer)
}
