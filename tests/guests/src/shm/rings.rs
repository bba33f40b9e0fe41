//! Queues in shared memory.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Shared;
use super::free::children;
use crate::kit::chain::mix;
use crate::kit::order::by;
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, fd};

const PLACES: usize = 16;

/// One writes, one reads, and neither waits in the kernel longer than a yield.
pub fn ring(chain: &mut Chain) -> Result {
    const WORDS: u64 = 1000;
    struct State {
        head: AtomicU64,
        tail: AtomicU64,
        places: [AtomicU64; PLACES],
        sums: [AtomicU64; 2],
        depths: Order,
    }
    let state = Shared::<State>::new()?;
    children(2, &state, chain, |index, state| {
        let mut digest = 0;
        for number in 0..WORDS {
            let place = &state.places[number as usize % PLACES];
            if index == 0 {
                let word = u64::from_le_bytes(fd::random(8)?.try_into().expect("8 bytes"));
                thread::until(|| number - state.tail.load(Ordering::Acquire) < PLACES as u64)?;
                place.store(word, Ordering::Relaxed);
                state.head.store(number + 1, Ordering::Release);
                digest = mix(digest, word);
            } else {
                thread::until(|| state.head.load(Ordering::Acquire) > number)?;
                state.depths.note(state.head.load(Ordering::Acquire) - number);
                digest = mix(digest, place.load(Ordering::Relaxed));
                state.tail.store(number + 1, Ordering::Release);
            }
        }
        state.sums[index].store(digest, Ordering::SeqCst);
        Ok(())
    })?;
    let sums = state.sums.each_ref().map(|sum| sum.load(Ordering::SeqCst));
    check_eq!(sums[0], sums[1], "what went in and what came out");
    chain.num(sums[0]);
    let depths = state.depths.take(chain)?;
    check!(depths.len() as u64 == WORDS && depths.iter().all(|depth| (1..=PLACES as u64).contains(depth)), "depths");
    Ok(())
}

/// Many workers take jobs from one list, and each job is done once.
pub fn pool(chain: &mut Chain) -> Result {
    const JOBS: usize = 400;
    struct State {
        next: AtomicU32,
        jobs: [AtomicU64; JOBS],
        results: [AtomicU64; JOBS],
        order: Order,
    }
    let state = Shared::<State>::new()?;
    let jobs: Vec<u64> = (0..JOBS).map(|_| chain.below(u64::MAX)).collect();
    for (place, job) in state.jobs.iter().zip(&jobs) {
        place.store(*job, Ordering::SeqCst);
    }
    children(4, &state, chain, |index, state| {
        loop {
            let number = state.next.fetch_add(1, Ordering::SeqCst) as usize;
            if number >= JOBS {
                return Ok(());
            }
            let mut result = state.jobs[number].load(Ordering::SeqCst);
            for step in 0..(result & 0xfff) {
                result = mix(result, step);
            }
            let before = state.results[number].swap(result, Ordering::SeqCst);
            check_eq!(before, 0, "the result of a job that nobody had done");
            state.order.note(by(index, number as u64));
            if result & 7 == 0 {
                thread::rest()?;
            }
        }
    })?;
    for (job, result) in jobs.iter().zip(&state.results) {
        let wanted = (0..(job & 0xfff)).fold(*job, mix);
        check_eq!(result.load(Ordering::SeqCst), wanted, "the result of a job");
    }
    let mut numbers: Vec<u64> = state.order.take(chain)?.into_iter().map(|word| word & 0xffff_ffff).collect();
    numbers.sort_unstable();
    check!(numbers.into_iter().eq(0..JOBS as u64), "jobs");
    Ok(())
}
