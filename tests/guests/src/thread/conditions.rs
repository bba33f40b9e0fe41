//! Condition variables.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex as StdMutex, PoisonError};

use crate::kit::clock::{MS_NS, monotonic, timespec};
use crate::kit::order::by;
use crate::kit::posix::{Condition, Mutex, Scope};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, fd};

/// Producers and consumers with a queue of four places.
pub fn queue(chain: &mut Chain) -> Result {
    struct Queue {
        items: StdMutex<VecDeque<u64>>,
        not_full: Condvar,
        not_empty: Condvar,
        order: Order,
    }
    let queue =
        Arc::new(Queue { items: StdMutex::default(), not_full: Condvar::new(), not_empty: Condvar::new(), order: Order::new() });
    let sums = thread::all(6, &queue, |index, queue| {
        let mut sum = 0u64;
        for _ in 0..60 {
            let mut items = queue.items.lock().unwrap_or_else(PoisonError::into_inner);
            if index % 2 == 0 {
                while items.len() == 4 {
                    items = queue.not_full.wait(items).unwrap_or_else(PoisonError::into_inner);
                }
                let item = u64::from(fd::random(1)?[0]);
                items.push_back(item);
                sum += item;
                queue.not_empty.notify_one();
            } else {
                let item = loop {
                    if let Some(item) = items.pop_front() {
                        break item;
                    }
                    items = queue.not_empty.wait(items).unwrap_or_else(PoisonError::into_inner);
                };
                sum += item;
                queue.order.note(by(index, item));
                queue.not_full.notify_one();
            }
        }
        Ok(sum)
    })?;
    let (even, odd): (Vec<_>, Vec<_>) = sums.iter().enumerate().partition(|(index, _)| index % 2 == 0);
    let total = |part: Vec<(usize, &u64)>| part.into_iter().map(|(_, sum)| *sum).sum::<u64>();
    check_eq!(total(even), total(odd), "what went in and what came out");
    sums.iter().for_each(|&sum| chain.num(sum));
    check_eq!(queue.order.take(chain)?.len(), 180, "items");
    Ok(())
}

/// A wait with a limit ends at the limit, or earlier with a reason.
pub fn timeout(chain: &mut Chain) -> Result {
    let state = Arc::new((Mutex::new(), Condition::new(), AtomicU64::new(0)));
    state.0.init(libc::PTHREAD_MUTEX_NORMAL, Scope::Private, false)?;
    state.1.init(Scope::Private)?;
    state.0.lock()?;
    for ms in [1, 5, 12] {
        let before = monotonic()?;
        let until = timespec(before + ms * MS_NS);
        loop {
            let result = plain!(pthread_cond_timedwait(state.1.get(), state.0.get(), &raw const until));
            check!(result == 0 || result == libc::ETIMEDOUT, "the wait gave {result}");
            if result != 0 {
                break;
            }
        }
        let waited = monotonic()? - before;
        check!(waited >= ms * MS_NS, "it waited only {waited} ns");
        chain.num(waited);
    }
    let shared = Arc::clone(&state);
    let other = thread::start(move || {
        for value in 1..=5 {
            crate::kit::clock::sleep_ms(1)?;
            shared.0.lock()?;
            shared.2.store(value, Ordering::SeqCst);
            shared.1.signal()?;
            shared.0.unlock()?;
        }
        Ok(())
    })?;
    let until = timespec(monotonic()? + 100_000 * MS_NS);
    while state.2.load(Ordering::SeqCst) < 5 {
        posix!(pthread_cond_timedwait(state.1.get(), state.0.get(), &raw const until))?;
        chain.num(state.2.load(Ordering::SeqCst));
    }
    state.0.unlock()?;
    thread::join(other)
}

/// Everybody waits, everybody is woken, again and again.
pub fn broadcast(chain: &mut Chain) -> Result {
    struct Stage {
        mutex: Mutex,
        arrived: Condition,
        go: Condition,
        waiting: AtomicU64,
        round: AtomicU64,
        order: Order,
    }
    let stage = Arc::new(Stage {
        mutex: Mutex::new(),
        arrived: Condition::new(),
        go: Condition::new(),
        waiting: AtomicU64::new(0),
        round: AtomicU64::new(0),
        order: Order::new(),
    });
    stage.mutex.init(libc::PTHREAD_MUTEX_NORMAL, Scope::Private, false)?;
    stage.arrived.init(Scope::Private)?;
    stage.go.init(Scope::Private)?;
    thread::all(6, &stage, |index, stage| {
        for round in 1..=15 {
            stage.mutex.lock()?;
            if index == 5 {
                while stage.waiting.load(Ordering::Relaxed) < 5 {
                    stage.arrived.wait(&stage.mutex)?;
                }
                stage.waiting.store(0, Ordering::Relaxed);
                stage.round.store(round, Ordering::Relaxed);
                stage.go.broadcast()?;
            } else {
                stage.waiting.fetch_add(1, Ordering::Relaxed);
                stage.arrived.signal()?;
                while stage.round.load(Ordering::Relaxed) < round {
                    stage.go.wait(&stage.mutex)?;
                }
                stage.order.note(by(index, round));
            }
            stage.mutex.unlock()?;
        }
        Ok(())
    })?;
    let words = stage.order.take(chain)?;
    check_eq!(words.len(), 75, "notes");
    for (round, part) in words.chunks(5).enumerate() {
        check!(part.iter().all(|word| word & 0xffff_ffff == round as u64 + 1), "round {round} is not together");
    }
    Ok(())
}
