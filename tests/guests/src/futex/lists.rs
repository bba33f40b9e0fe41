//! Several lists of waiters, and operations that choose among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{futex, wait, wake};
use crate::kit::call::outcome;
use crate::kit::order::by;
use crate::kit::thread;
use crate::kit::{Chain, Order, Result};

const PRIVATE: i32 = libc::FUTEX_PRIVATE_FLAG;

struct Words {
    first: AtomicU32,
    second: AtomicU32,
    order: Order,
}

fn words() -> Arc<Words> {
    Arc::new(Words { first: AtomicU32::new(0), second: AtomicU32::new(0), order: Order::new() })
}

fn operate(word: &AtomicU32, operation: i32, value: u32, fourth: usize, second: &AtomicU32, third: u32) -> Result<i64> {
    outcome(futex(word, operation | PRIVATE, value, fourth, second, third), "futex", file!(), line!())
}

/// Waiters with bits: a wake reaches those that share one.
pub fn bitset(chain: &mut Chain) -> Result {
    let state = words();
    let mut threads = Vec::new();
    for index in 0..6 {
        let state = Arc::clone(&state);
        threads.push(thread::start(move || {
            let bits = 1u32 << (index % 3);
            operate(&state.first, libc::FUTEX_WAIT_BITSET, 0, 0, &state.first, bits)?;
            state.order.note(by(index, bits.into()));
            Ok(())
        })?);
    }
    for bits in [4, 1, 2u32] {
        let mut woken = 0;
        while woken < 2 {
            let now = operate(&state.first, libc::FUTEX_WAKE_BITSET, 100, 0, &state.first, bits)?;
            chain.num(now);
            woken += now;
            crate::kit::clock::sleep_ms(1)?;
        }
        check_eq!(woken, 2, "waiters with bits {bits}");
        thread::until(|| state.order.len().is_multiple_of(2))?;
    }
    threads.into_iter().try_for_each(thread::join)?;
    let bits: Vec<u64> = state.order.take(chain)?.into_iter().map(|word| word & 0xff).collect();
    check_eq!(bits, [4, 4, 1, 1, 2, 2], "who was woken when");
    Ok(())
}

/// Four waiters on the first word.
fn waiters(state: &Arc<Words>) -> Result<Vec<thread::Thread>> {
    (0..4)
        .map(|index| {
            let state = Arc::clone(state);
            thread::start(move || {
                operate(&state.first, libc::FUTEX_WAIT, 0, 0, &state.first, 0)?;
                state.order.note(by(index, 1));
                Ok(())
            })
        })
        .collect()
}

/// Of four waiters some are woken and the others moved to another word.
fn moved(chain: &mut Chain, operation: i32) -> Result {
    for _ in 0..3 {
        let state = words();
        let threads = waiters(&state)?;
        let (mut served, mut moved) = (0, 0);
        while served < 4 {
            let now = operate(&state.first, operation, 1, 2, &state.second, 0)?;
            check!((0..=3).contains(&now), "{now} were woken or moved");
            chain.num(now);
            served += now;
            moved += (now - 1).max(0);
            crate::kit::clock::sleep_ms(1)?;
        }
        check_eq!(wake(&state.first, 10)?, 0, "waiters that are left at the first word");
        check_eq!(wake(&state.second, 10)?, moved, "waiters at the second word");
        threads.into_iter().try_for_each(thread::join)?;
        check_eq!(state.order.take(chain)?.len(), 4, "waiters");
    }
    Ok(())
}

/// FUTEX_REQUEUE.
pub fn requeue(chain: &mut Chain) -> Result {
    moved(chain, libc::FUTEX_REQUEUE)
}

/// FUTEX_CMP_REQUEUE, which looks at the word first.
pub fn cmp_requeue(chain: &mut Chain) -> Result {
    let state = words();
    let operation = libc::FUTEX_CMP_REQUEUE | PRIVATE;
    check_eq!(futex(&state.first, operation, 1, 1, &state.second, 7), -1, "a word with another value");
    check_eq!(crate::kit::call::errno(), libc::EAGAIN, "why");
    moved(chain, libc::FUTEX_CMP_REQUEUE)
}

/// FUTEX_WAKE_OP changes a second word and wakes there, too, if what it was is so.
pub fn wake_op(chain: &mut Chain) -> Result {
    const SET: u32 = 0;
    const ADD: u32 = 1;
    const OR: u32 = 2;
    const ANDN: u32 = 3;
    const XOR: u32 = 4;
    const EQ: u32 = 0;
    const GT: u32 = 4;
    let code = |operation: u32, compare: u32, with: u32, than: u32| operation << 28 | compare << 24 | with << 12 | than;
    let state = words();
    for (code, before, after) in [
        (code(SET, EQ, 12, 0), 3, 12),
        (code(ADD, EQ, 5, 0), 12, 17),
        (code(OR, GT, 0x40, 100), 17, 0x51),
        (code(ANDN, EQ, 1, 0), 0x51, 0x50),
        (code(XOR, EQ, 0xff, 0), 0x50, 0xaf),
    ] {
        state.second.store(before, Ordering::SeqCst);
        check_eq!(operate(&state.first, libc::FUTEX_WAKE_OP, 1, 1, &state.second, code)?, 0, "waiters");
        let found = state.second.load(Ordering::SeqCst);
        check_eq!(found, after, "the word after the operation");
        chain.num(found);
    }
    // One waiter at each word; the condition on the second one holds, then not.
    for holds in [true, false] {
        state.first.store(0, Ordering::SeqCst);
        state.second.store(0, Ordering::SeqCst);
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let state = Arc::clone(&state);
                thread::start(move || {
                    let word = if index == 0 { &state.first } else { &state.second };
                    let error = wait(word, 0, None)?;
                    check!(error == 0 || error == libc::EAGAIN, "the wait ended with errno {error}");
                    state.order.note(by(index, error as u64));
                    Ok(())
                })
            })
            .collect::<Result<_>>()?;
        crate::kit::clock::sleep_ms(3)?;
        let woken = operate(&state.first, libc::FUTEX_WAKE_OP, 1, 1, &state.second, code(ADD, EQ, 1, u32::from(!holds)))?;
        check!((0..=2).contains(&woken), "{woken} were woken");
        chain.num(woken);
        check_eq!(state.second.load(Ordering::SeqCst), 1, "the second word");
        state.first.store(1, Ordering::SeqCst);
        wake(&state.first, 1)?;
        wake(&state.second, 1)?;
        threads.into_iter().try_for_each(thread::join)?;
        check_eq!(state.order.take(chain)?.len(), 2, "waiters");
    }
    Ok(())
}
