//! Newer calls, and locks whose owner inherits a waiter's priority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{futex, wake};
use crate::kit::call::errno;
use crate::kit::clock::{MS_NS, monotonic, timespec};
use crate::kit::order::by;
use crate::kit::thread::{self, tid};
use crate::kit::{Chain, Order, Result, unsupported};

const SIZE_U32: u32 = 2;
const PRIVATE: u32 = 128;

/// A word to wait for, as futex_waitv has it.
#[repr(C)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

fn waiter(word: &AtomicU32, value: u32) -> Waiter {
    Waiter { value: value.into(), address: word.as_ptr() as u64, flags: SIZE_U32 | PRIVATE, reserved: 0 }
}

/// futex_waitv waits for one of many words, and says which it was.
pub fn waitv(chain: &mut Chain) -> Result {
    let state = Arc::new(([const { AtomicU32::new(0) }; 4], Order::new()));
    let list = state.0.each_ref().map(|word| waiter(word, 0));
    let limit = timespec(monotonic()? + 3 * MS_NS);
    let clock = libc::CLOCK_MONOTONIC;
    let ended = plain!(syscall(libc::SYS_futex_waitv, list.as_ptr(), 4, 0, &raw const limit, clock));
    if ended == -1 && errno() == libc::ENOSYS {
        return unsupported("futex_waitv");
    }
    check_eq!((ended, errno()), (-1, libc::ETIMEDOUT), "a wait that nobody ends");
    state.0[2].store(1, Ordering::SeqCst);
    fails!(EAGAIN, syscall(libc::SYS_futex_waitv, list.as_ptr(), 4, 0, 0usize, clock))?;
    state.0[2].store(0, Ordering::SeqCst);
    for round in 0..8 {
        let shared = Arc::clone(&state);
        let waiter = thread::start(move || {
            let list = shared.0.each_ref().map(|word| waiter(word, 0));
            let which = raw!(SYS_futex_waitv, list.as_ptr(), 4, 0, 0usize, clock)?;
            shared.1.note(which as u64);
            Ok(which)
        })?;
        let which = chain.below(4) as usize;
        while wake(&state.0[which], 1)? == 0 {
            crate::kit::clock::sleep_ms(1)?;
        }
        check_eq!(thread::join(waiter)?, which as i64, "the word of round {round}");
    }
    check_eq!(state.1.take(chain)?.len(), 8, "rounds");
    Ok(())
}

/// futex_wait, futex_wake and futex_requeue: an operation each.
pub fn futex2(chain: &mut Chain) -> Result {
    const SYS_FUTEX_WAKE: i64 = 454;
    const SYS_FUTEX_WAIT: i64 = 455;
    const SYS_FUTEX_REQUEUE: i64 = 456;
    const ALL: u64 = u32::MAX as u64;
    let flags = SIZE_U32 | PRIVATE;
    let state = Arc::new(([const { AtomicU32::new(0) }; 2], Order::new()));
    let wake = move |word: &AtomicU32| plain!(syscall(SYS_FUTEX_WAKE, word.as_ptr(), ALL, 10, flags));
    if wake(&state.0[0]) == -1 {
        check!([libc::ENOSYS, libc::EPERM].contains(&errno()), "futex_wake failed with errno {}", errno());
        return unsupported("futex_wake, futex_wait and futex_requeue");
    }
    let threads: Vec<_> = (0..3)
        .map(|index| {
            let state = Arc::clone(&state);
            thread::start(move || {
                let clock = libc::CLOCK_MONOTONIC;
                let ended = plain!(syscall(SYS_FUTEX_WAIT, state.0[0].as_ptr(), 0u64, ALL, flags, 0usize, clock));
                check_eq!(ended, 0, "the wait");
                state.1.note(by(index, 1));
                Ok(())
            })
        })
        .collect::<Result<_>>()?;
    let mut served = 0;
    let mut moved = 0;
    while served < 3 {
        let list = state.0.each_ref().map(|word| waiter(word, 0));
        let now = plain!(syscall(SYS_FUTEX_REQUEUE, list.as_ptr(), 0, 1, 1));
        check!((0..=2).contains(&now), "{now} were woken or moved");
        chain.num(now);
        served += now;
        moved += (now - 1).max(0);
        crate::kit::clock::sleep_ms(1)?;
    }
    check_eq!(wake(&state.0[1]), moved, "waiters at the second word");
    threads.into_iter().try_for_each(thread::join)?;
    check_eq!(state.1.take(chain)?.len(), 3, "waiters");
    Ok(())
}

/// A lock that the kernel hands over, and that carries its owner's number.
pub fn inherit(chain: &mut Chain) -> Result {
    let state = Arc::new((AtomicU32::new(0), AtomicU32::new(0), Order::new()));
    thread::all(3, &state, |index, (lock, count, order)| {
        let own = tid() as u32;
        for round in 0..20 {
            if lock.compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                let result = futex(lock, libc::FUTEX_LOCK_PI | libc::FUTEX_PRIVATE_FLAG, 0, 0, lock, 0);
                check_eq!(result, 0, "what FUTEX_LOCK_PI gives");
            }
            check_eq!(lock.load(Ordering::SeqCst) & libc::FUTEX_TID_MASK, own, "the owner");
            let before = count.load(Ordering::Relaxed);
            order.note(by(index, round));
            if round % 4 == 0 {
                thread::rest()?;
            }
            count.store(before + 1, Ordering::Relaxed);
            if lock.compare_exchange(own, 0, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                let result = futex(lock, libc::FUTEX_UNLOCK_PI | libc::FUTEX_PRIVATE_FLAG, 0, 0, lock, 0);
                check_eq!(result, 0, "what FUTEX_UNLOCK_PI gives");
            }
        }
        Ok(())
    })?;
    check_eq!(state.1.load(Ordering::SeqCst), 60, "the count");
    crate::kit::order::check_each_ascends(&state.2.take(chain)?, 3, 20)
}
