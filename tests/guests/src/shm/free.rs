//! No locks: atomics alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::Shared;
use crate::kit::order::{by, check_each_ascends};
use crate::kit::process::{fork, join, pid};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, fd};

/// Runs so many children on shared state, each with its index, and waits for all.
pub fn children<T>(count: usize, state: &Shared<T>, chain: &mut Chain, body: impl Fn(usize, &T) -> Result) -> Result {
    let mut numbers = Vec::new();
    for index in 0..count {
        numbers.push(fork(|| body(index, state).map(|()| 0))?);
    }
    for number in numbers {
        chain.num(number);
        join(number)?;
    }
    Ok(())
}

/// Children write into one mapping, each in its part and all in the order.
pub fn anonymous(chain: &mut Chain) -> Result {
    struct State {
        order: Order,
        parts: [[AtomicU64; 600]; 3],
    }
    let state = Shared::<State>::new()?;
    children(3, &state, chain, |index, state| {
        for (at, word) in state.parts[index].iter().enumerate() {
            word.store(u64::from(fd::random(1)?[0]) + at as u64, Ordering::Relaxed);
            if at % 20 == 0 {
                state.order.note(by(index, at as u64 / 20));
                thread::rest()?;
            }
        }
        Ok(())
    })?;
    for word in state.parts.iter().flatten() {
        chain.num(word.load(Ordering::SeqCst));
    }
    check_each_ascends(&state.order.take(chain)?, 3, 30)
}

/// One counter for all: what each saw is different from what all others saw.
pub fn counter(chain: &mut Chain) -> Result {
    struct State {
        count: AtomicU64,
        order: Order,
        seen: [AtomicU64; 4],
    }
    let state = Shared::<State>::new()?;
    children(4, &state, chain, |index, state| {
        for step in 0..5000 {
            let before = state.count.fetch_add(1, Ordering::SeqCst);
            state.seen[index].fetch_add(before, Ordering::Relaxed);
            if step % 100 == 0 {
                state.order.note(by(index, step / 100));
            }
            if step % 500 == 0 {
                thread::rest()?;
            }
        }
        Ok(())
    })?;
    check_eq!(state.count.load(Ordering::SeqCst), 20_000, "the count");
    let seen = state.seen.each_ref().map(|sum| sum.load(Ordering::SeqCst));
    check_eq!(seen.iter().sum::<u64>(), 19_999 * 20_000 / 2, "the sum of what all saw");
    seen.into_iter().for_each(|sum| chain.num(sum));
    check_each_ascends(&state.order.take(chain)?, 4, 50)
}

/// A turn goes from process to process; who waits spins, one of them without any call.
pub fn spin(chain: &mut Chain) -> Result {
    struct State {
        turn: AtomicU64,
        order: Order,
    }
    let state = Shared::<State>::new()?;
    children(3, &state, chain, |index, state| {
        for round in 0..12 {
            let mine = round * 3 + index as u64;
            while state.turn.load(Ordering::SeqCst) != mine {
                if index == 0 {
                    std::hint::spin_loop();
                } else {
                    thread::rest()?;
                }
            }
            state.order.note(mine << 8 | u64::from(fd::random(1)?[0]));
            state.turn.store(mine + 1, Ordering::SeqCst);
        }
        Ok(())
    })?;
    check!(state.order.take(chain)?.into_iter().map(|word| word >> 8).eq(0..36), "the turns");
    Ok(())
}

/// A writer that never waits, and readers that read again when it has written meanwhile.
pub fn seqlock(chain: &mut Chain) -> Result {
    struct State {
        sequence: AtomicU64,
        words: [AtomicU64; 8],
        order: Order,
    }
    let state = Shared::<State>::new()?;
    children(4, &state, chain, |index, state| {
        if index == 0 {
            for round in 1..=200 {
                state.sequence.fetch_add(1, Ordering::SeqCst);
                for (at, word) in state.words.iter().enumerate() {
                    word.store(round * 8 + at as u64, Ordering::SeqCst);
                    if round % 50 == 0 && at == 4 {
                        thread::rest()?;
                    }
                }
                state.sequence.fetch_add(1, Ordering::SeqCst);
                if round % 8 == 0 {
                    thread::rest()?;
                }
            }
            return Ok(());
        }
        loop {
            let before = state.sequence.load(Ordering::SeqCst);
            let words = state.words.each_ref().map(|word| word.load(Ordering::SeqCst));
            fence(Ordering::SeqCst);
            if before & 1 == 1 || state.sequence.load(Ordering::SeqCst) != before {
                thread::rest()?;
                continue;
            }
            let first = words[0];
            let whole = before == 0 || words.iter().enumerate().all(|(at, &word)| word == first + at as u64);
            check!(whole, "a reader saw {words:?} at {before}");
            check_eq!(first / 8 * 2, before, "the round that a reader saw");
            if state.order.note(by(index, before)) > 5000 || before == 400 {
                return Ok(());
            }
            thread::rest()?;
        }
    })?;
    let words = state.order.take(chain)?;
    for index in 1..4 {
        let own: Vec<u64> = words.iter().filter(|&&word| word >> 32 == index).map(|&word| word & 0xffff_ffff).collect();
        check!(own.is_sorted(), "reader {index} saw time go back");
    }
    Ok(())
}

/// Two processes with two threads each, on one counter.
pub fn mixed(chain: &mut Chain) -> Result {
    struct State {
        count: AtomicU32,
        order: Order,
    }
    let state = Shared::<State>::new()?;
    children(2, &state, chain, |index, _| {
        // The mapping was inherited, so its address is the same here and in the threads.
        let shared = Arc::new((&raw const *state).addr());
        thread::all(2, &shared, move |thread, address| {
            // SAFETY: the mapping, which stays until both processes have ended.
            let state = unsafe { &*std::ptr::with_exposed_provenance::<State>(*address) };
            for round in 0..100 {
                state.count.fetch_add(1, Ordering::SeqCst);
                state.order.note(by(2 * index + thread, round));
                if round % 10 == 0 {
                    thread::rest()?;
                }
            }
            Ok(())
        })?;
        check!(pid() > 0, "no number");
        Ok(())
    })?;
    check_eq!(state.count.load(Ordering::SeqCst), 400, "the count");
    check_each_ascends(&state.order.take(chain)?, 4, 100)
}
