//! Timers of each kind into a process that computes.

use std::ffi::c_void;
use std::ptr::null_mut;

use crate::kit::clock::{MS_NS, monotonic, timespec};
use crate::kit::{Chain, Result, signal, zero};
use crate::signal::computing::{block, compute, every_us, look, settle};

fn create(notify: i32, number: i32, value: usize) -> Result<libc::timer_t> {
    let mut event: libc::sigevent = zero();
    event.sigev_notify = notify;
    event.sigev_signo = number;
    event.sigev_value = libc::sigval { sival_ptr: value as *mut c_void };
    event.sigev_notify_thread_id = plain!(gettid());
    let mut timer: libc::timer_t = null_mut();
    sys!(timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer))?;
    Ok(timer)
}

fn arm(timer: libc::timer_t, every_ns: i64) -> Result {
    let times = libc::itimerspec { it_interval: timespec(every_ns), it_value: timespec(every_ns) };
    sys!(timer_settime(timer, 0, &raw const times, null_mut())).map(drop)
}

/// Two POSIX timers with periods of their own.
pub fn posix(chain: &mut Chain) -> Result {
    let (first, second) = (libc::SIGRTMIN() + 1, libc::SIGRTMIN() + 2);
    signal::install(first, look, libc::SA_RESTART)?;
    signal::install(second, look, libc::SA_RESTART)?;
    let timers = [create(libc::SIGEV_SIGNAL, first, 1)?, create(libc::SIGEV_SIGNAL, second, 2)?];
    arm(timers[0], 2 * MS_NS)?;
    arm(timers[1], 3 * MS_NS)?;
    let sum = compute(60);
    for timer in timers {
        sys!(timer_delete(timer))?;
    }
    settle(chain, sum);
    Ok(())
}

/// A timer whose signal goes to one thread: this one.
pub fn thread_id(chain: &mut Chain) -> Result {
    let number = libc::SIGRTMIN() + 5;
    signal::watch(number, libc::SA_RESTART)?;
    let timer = create(libc::SIGEV_THREAD_ID, number, 0xabcd)?;
    arm(timer, MS_NS)?;
    let mut sum = 0;
    while signal::count() < 30 {
        sum = block(sum);
    }
    sys!(timer_delete(timer))?;
    let seen = signal::take(chain);
    check!(seen.iter().all(|one| (one.code, one.value) == (libc::SI_TIMER, 0xabcd)), "code or value of {seen:?}");
    chain.num(sum);
    Ok(())
}

/// A timer of the CPU time that it uses itself.
pub fn cpu_time(chain: &mut Chain) -> Result {
    signal::install(libc::SIGVTALRM, look, libc::SA_RESTART)?;
    every_us(libc::ITIMER_VIRTUAL, 4000)?;
    let sum = compute(10);
    every_us(libc::ITIMER_VIRTUAL, 0)?;
    settle(chain, sum);
    Ok(())
}

/// A descriptor's timer is looked at now and then by a process that signals interrupt in what it computes.
pub fn descriptor(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, look, libc::SA_RESTART)?;
    let fd = sys!(timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK))?;
    let times = libc::itimerspec { it_interval: timespec(5 * MS_NS), it_value: timespec(5 * MS_NS) };
    let begun = monotonic()?;
    sys!(timerfd_settime(fd, 0, &raw const times, null_mut()))?;
    every_us(libc::ITIMER_REAL, 2000)?;
    let (mut expired, mut sum) = (0_u64, 0);
    while expired < 20 {
        for _ in 0..150 {
            sum = block(sum);
        }
        let mut count = 0_u64;
        if plain!(read(fd, (&raw mut count).cast(), 8)) == 8 {
            expired += count;
            let passed = monotonic()? - begun;
            check!(expired as i64 * 5 * MS_NS <= passed, "{expired} expirations in {passed} ns");
        }
    }
    every_us(libc::ITIMER_REAL, 0)?;
    sys!(close(fd))?;
    chain.num(expired);
    settle(chain, sum);
    Ok(())
}
