//! What is built on futexes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{wait, wait_shared, wake, wake_shared};
use crate::kit::order::{by, check_each_ascends};
use crate::kit::process::{fork, join};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, fd};
use crate::shm::Shared;

/// A lock with three states: free, held, held and waited for.
fn acquire(word: &AtomicU32) -> Result {
    if word.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        return Ok(());
    }
    while word.swap(2, Ordering::SeqCst) != 0 {
        let error = wait(word, 2, None)?;
        check!([0, libc::EAGAIN, libc::EINTR].contains(&error), "the wait ended with errno {error}");
    }
    Ok(())
}

fn release(word: &AtomicU32) -> Result {
    if word.swap(0, Ordering::SeqCst) == 2 {
        wake(word, 1)?;
    }
    Ok(())
}

/// The lock under contention.
pub fn lock(chain: &mut Chain) -> Result {
    let state = Arc::new((AtomicU32::new(0), AtomicU64::new(0), Order::new()));
    thread::all(4, &state, |index, (word, count, order)| {
        for round in 0..150 {
            acquire(word)?;
            let before = count.load(Ordering::Relaxed);
            order.note(by(index, round));
            if fd::random(1)?[0] & 7 == 0 {
                thread::rest()?;
            }
            count.store(before + 1, Ordering::Relaxed);
            release(word)?;
        }
        Ok(())
    })?;
    check_eq!(state.1.load(Ordering::SeqCst), 600, "the count");
    check_each_ascends(&state.2.take(chain)?, 4, 150)
}

/// Two threads take turns 300 times.
pub fn ping_pong(chain: &mut Chain) -> Result {
    let state = Arc::new((AtomicU32::new(0), Order::new()));
    thread::all(2, &state, |index, (word, order)| {
        for round in 0..300 {
            let mine = 2 * round + index as u32;
            loop {
                let now = word.load(Ordering::SeqCst);
                if now == mine {
                    break;
                }
                wait(word, now, None)?;
            }
            order.note(mine.into());
            word.store(mine + 1, Ordering::SeqCst);
            wake(word, 1)?;
        }
        Ok(())
    })?;
    check!(state.1.take(chain)?.into_iter().eq(0..600), "the turns");
    Ok(())
}

/// The word of a mapping that processes share, in turns.
pub fn processes(chain: &mut Chain) -> Result {
    struct State {
        word: AtomicU32,
        order: Order,
    }
    let state = Shared::<State>::new()?;
    let mut children = Vec::new();
    for index in 0..3u32 {
        children.push(fork(|| {
            for round in 0..60 {
                let mine = 3 * round + index;
                loop {
                    let now = state.word.load(Ordering::SeqCst);
                    if now == mine {
                        break;
                    }
                    wait_shared(&state.word, now)?;
                }
                state.order.note(by(index as usize, u64::from(fd::random(1)?[0])));
                state.word.store(mine + 1, Ordering::SeqCst);
                wake_shared(&state.word, 10)?;
            }
            Ok(0)
        })?);
    }
    children.into_iter().try_for_each(join)?;
    let words = state.order.take(chain)?;
    check!(words.iter().map(|word| word >> 32).eq((0..180).map(|turn| turn % 3)), "the turns");
    Ok(())
}
