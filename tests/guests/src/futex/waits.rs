//! Waiting and waking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{futex, wait, wake};
use crate::kit::clock::{MS_NS, monotonic, now, timespec};
use crate::kit::order::by;
use crate::kit::thread::{self, tid};
use crate::kit::{Chain, Order, Result, signal};

/// Waiters are woken one by one, and then all at once.
pub fn wait_wake(chain: &mut Chain) -> Result {
    let state = Arc::new((AtomicU32::new(0), Order::new()));
    for all_at_once in [false, true] {
        state.0.store(0, Ordering::SeqCst);
        let mut threads = Vec::new();
        for index in 0..5 {
            let state = Arc::clone(&state);
            threads.push(thread::start(move || {
                let error = wait(&state.0, 0, None)?;
                check_eq!(error, 0, "how the wait ended");
                state.1.note(by(index, 1));
                Ok(tid())
            })?);
        }
        // Whoever waits is asleep some time; a wake before that wakes nobody and says so.
        let mut woken = 0;
        while woken < 5 {
            let count = if all_at_once { 100 } else { 1 };
            let now = wake(&state.0, count)?;
            check!((0..=5).contains(&now) && now <= i64::from(count), "{now} were woken");
            chain.num(now);
            woken += now;
            crate::kit::clock::sleep_ms(1)?;
        }
        check_eq!(woken, 5, "waiters woken");
        for thread in threads {
            chain.num(thread::join(thread)?);
        }
        check_eq!(state.1.take(chain)?.len(), 5, "waiters");
    }
    Ok(())
}

/// What futex calls refuse.
pub fn errors(chain: &mut Chain) -> Result {
    let word = AtomicU32::new(5);
    check_eq!(wait(&word, 4, None)?, libc::EAGAIN, "a wait for another value");
    check_eq!(wake(&word, 10)?, 0, "waiters");
    check_eq!(wait(&word, 5, Some(-1))?, libc::EINVAL, "a wait for less than no time");
    let odd = word.as_ptr().wrapping_byte_add(1);
    fails!(EINVAL, syscall(libc::SYS_futex, odd, libc::FUTEX_WAIT, 0, 0usize, 0usize, 0))?;
    fails!(EFAULT, syscall(libc::SYS_futex, 8usize, libc::FUTEX_WAIT, 0, 0usize, 0usize, 0))?;
    fails!(ENOSYS, syscall(libc::SYS_futex, word.as_ptr(), 99, 0, 0usize, 0usize, 0))?;
    check_eq!(futex(&word, libc::FUTEX_WAIT_BITSET, 5, 0, &word, 0), -1, "a wait with no bits");
    check_eq!(crate::kit::call::errno(), libc::EINVAL, "why");
    chain.num(word.load(Ordering::SeqCst));
    Ok(())
}

/// Waits that nobody ends: relative, and until a moment of either clock.
pub fn timeouts(chain: &mut Chain) -> Result {
    let word = AtomicU32::new(1);
    for ms in [0, 1, 7] {
        let before = monotonic()?;
        check_eq!(wait(&word, 1, Some(ms * MS_NS))?, libc::ETIMEDOUT, "how the wait ended");
        let waited = monotonic()? - before;
        check!(waited >= ms * MS_NS, "it waited only {waited} ns");
        chain.num(waited);
    }
    for (clock, flag) in [(libc::CLOCK_MONOTONIC, 0), (libc::CLOCK_REALTIME, libc::FUTEX_CLOCK_REALTIME)] {
        let before = now(clock)?;
        let until = timespec(before + 4 * MS_NS);
        let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG | flag;
        fails!(ETIMEDOUT, syscall(libc::SYS_futex, word.as_ptr(), operation, 1, &raw const until, 0usize, u32::MAX))?;
        let waited = now(clock)? - before;
        check!(waited >= 4 * MS_NS, "it waited only {waited} ns");
        chain.num(waited);
        fails!(ETIMEDOUT, syscall(libc::SYS_futex, word.as_ptr(), operation, 1, &raw const until, 0usize, u32::MAX))?;
    }
    Ok(())
}

/// A handler ends a wait with a limit; without SA_RESTART the program sees it, with it the wait goes on.
pub fn interrupted(chain: &mut Chain) -> Result {
    let state = Arc::new((AtomicU32::new(0), AtomicU32::new(0), Order::new()));
    for restart in [false, true] {
        signal::watch(libc::SIGUSR1, if restart { libc::SA_RESTART } else { 0 })?;
        state.0.store(0, Ordering::SeqCst);
        state.1.store(0, Ordering::SeqCst);
        let shared = Arc::clone(&state);
        let waiter = thread::start(move || {
            shared.1.store(tid() as u32, Ordering::SeqCst);
            let mut errors = Vec::new();
            while shared.0.load(Ordering::SeqCst) == 0 {
                let error = wait(&shared.0, 0, None)?;
                shared.2.note(error as u64);
                errors.push(error);
            }
            Ok(errors)
        })?;
        thread::until(|| state.1.load(Ordering::SeqCst) != 0)?;
        let number = state.1.load(Ordering::SeqCst) as i32;
        for _ in 0..4 {
            let before = signal::count();
            sys!(tgkill(crate::kit::process::pid(), number, libc::SIGUSR1))?;
            thread::until(|| signal::count() > before)?;
            crate::kit::clock::sleep_ms(1)?;
        }
        state.0.store(1, Ordering::SeqCst);
        wake(&state.0, 1)?;
        let errors = thread::join(waiter)?;
        let allowed = if restart { [0, libc::EAGAIN, 0] } else { [0, libc::EAGAIN, libc::EINTR] };
        check!(errors.iter().all(|error| allowed.contains(error)), "the waits ended with {errors:?}");
        check_eq!(signal::take(chain).len(), 4, "signals");
        state.2.take(chain)?;
    }
    Ok(())
}
