//! Locks of the C library among processes.

use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use super::free::children;
use crate::kit::clock::{MS_NS, monotonic, now, timespec};
use crate::kit::order::{by, check_each_ascends};
use crate::kit::posix::{Condition, Mutex, Object, Scope};
use crate::kit::process::{fork, join, join_signal, kill, pid};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, fd, unsupported};

/// A mutex, and what it protects.
struct Locked {
    mutex: Mutex,
    count: AtomicU64,
    order: Order,
}

fn add(count: &AtomicU64) {
    let before = count.load(Ordering::Relaxed);
    count.store(std::hint::black_box(before) + 1, Ordering::Relaxed);
}

/// A mutex that processes fight for.
pub fn mutex(chain: &mut Chain) -> Result {
    let state = Shared::<Locked>::new()?;
    state.mutex.init(libc::PTHREAD_MUTEX_ERRORCHECK, Scope::Processes, false)?;
    children(4, &state, chain, |index, state| {
        for round in 0..100 {
            state.mutex.lock()?;
            add(&state.count);
            state.order.note(by(index, round));
            if fd::random(1)?[0] & 7 == 0 {
                thread::rest()?;
            }
            state.mutex.unlock()?;
        }
        Ok(())
    })?;
    check_eq!(state.count.load(Ordering::SeqCst), 400, "the count");
    check_each_ascends(&state.order.take(chain)?, 4, 100)
}

/// The owner of a robust mutex is killed, and the next one repairs what it left.
pub fn robust(chain: &mut Chain) -> Result {
    let state = Shared::<Locked>::new()?;
    state.mutex.init(libc::PTHREAD_MUTEX_NORMAL, Scope::Processes, true)?;
    for round in 1..=4 {
        let (read, write) = fd::pipe()?;
        let owner = fork(|| {
            state.mutex.lock()?;
            state.order.note(by(round, 1));
            fd::write_all(write, b"!")?;
            loop {
                plain!(pause());
            }
        })?;
        fd::read_exact(read, 1)?;
        gives!(EBUSY, pthread_mutex_trylock(state.mutex.get()))?;
        let waiter = fork(|| {
            gives!(EOWNERDEAD, pthread_mutex_lock(state.mutex.get()))?;
            state.order.note(by(round, 2));
            add(&state.count);
            posix!(pthread_mutex_consistent(state.mutex.get()))?;
            state.mutex.unlock()?;
            Ok(0)
        })?;
        crate::kit::clock::sleep_ms(2)?;
        kill(owner, libc::SIGKILL)?;
        join_signal(owner, libc::SIGKILL)?;
        join(waiter)?;
        state.mutex.lock()?;
        check_eq!(state.count.load(Ordering::Relaxed), round as u64, "repairs");
        state.mutex.unlock()?;
        chain.num(owner);
        fd::close_all(&[read, write])?;
    }
    check_eq!(state.order.take(chain)?.len(), 8, "notes");
    Ok(())
}

/// Items go from process to process with a condition for each side.
pub fn condition(chain: &mut Chain) -> Result {
    struct State {
        locked: Locked,
        full: Condition,
        empty: Condition,
        item: AtomicU64,
    }
    let state = Shared::<State>::new()?;
    state.locked.mutex.init(libc::PTHREAD_MUTEX_NORMAL, Scope::Processes, false)?;
    state.full.init(Scope::Processes)?;
    state.empty.init(Scope::Processes)?;
    children(4, &state, chain, |index, state| {
        let limit = timespec(monotonic()? + 50_000 * MS_NS);
        for round in 0..40 {
            state.locked.mutex.lock()?;
            let wants_item = index % 2 == 1;
            while (state.item.load(Ordering::Relaxed) != 0) != wants_item {
                let condition = if wants_item { &state.full } else { &state.empty };
                posix!(pthread_cond_timedwait(condition.get(), state.locked.mutex.get(), &raw const limit))?;
            }
            if wants_item {
                state.locked.order.note(by(index, state.item.swap(0, Ordering::Relaxed)));
                state.empty.signal()?;
            } else {
                state.item.store((index as u64) << 16 | (round + 1), Ordering::Relaxed);
                state.full.signal()?;
            }
            state.locked.mutex.unlock()?;
        }
        Ok(())
    })?;
    let words = state.locked.order.take(chain)?;
    check_eq!(words.len(), 80, "items");
    for sender in [0, 2] {
        let own = words.iter().map(|word| word & 0xffff_ffff).filter(|item| item >> 16 == sender).map(|item| item & 0xffff);
        check!(own.eq(1..=40), "the items of process {sender} are not in order");
    }
    Ok(())
}

/// A semaphore in shared memory lets two in; one that waits too long is told.
pub fn semaphore(chain: &mut Chain) -> Result {
    struct State {
        semaphore: Object<libc::sem_t>,
        inside: AtomicU64,
        order: Order,
    }
    let state = Shared::<State>::new()?;
    sys!(sem_init(state.semaphore.get(), 1, 2))?;
    children(4, &state, chain, |index, state| {
        for round in 0..30 {
            sys!(sem_wait(state.semaphore.get()))?;
            let others = state.inside.fetch_add(1, Ordering::SeqCst);
            check!(others < 2, "{others} others are inside");
            state.order.note(by(index, round));
            if fd::random(1)?[0] & 3 == 0 {
                thread::rest()?;
            }
            state.inside.fetch_sub(1, Ordering::SeqCst);
            sys!(sem_post(state.semaphore.get()))?;
        }
        Ok(())
    })?;
    check_each_ascends(&state.order.take(chain)?, 4, 30)?;
    sys!(sem_wait(state.semaphore.get()))?;
    sys!(sem_wait(state.semaphore.get()))?;
    let limit = timespec(now(libc::CLOCK_REALTIME)? + 3 * MS_NS);
    fails!(ETIMEDOUT, sem_timedwait(state.semaphore.get(), &raw const limit))
}

/// Rounds of processes that nobody begins before all have ended the last one.
pub fn barrier(chain: &mut Chain) -> Result {
    struct State {
        barrier: Object<libc::pthread_barrier_t>,
        order: Order,
    }
    let state = Shared::<State>::new()?;
    let attributes = Object::<libc::pthread_barrierattr_t>::new();
    posix!(pthread_barrierattr_init(attributes.get()))?;
    posix!(pthread_barrierattr_setpshared(attributes.get(), Scope::Processes.number()))?;
    posix!(pthread_barrier_init(state.barrier.get(), attributes.get(), 4))?;
    children(4, &state, chain, |index, state| {
        for round in 0..25 {
            state.order.note(by(index, round));
            let result = plain!(pthread_barrier_wait(state.barrier.get()));
            check!(result == 0 || result == libc::PTHREAD_BARRIER_SERIAL_THREAD, "the barrier gave {result}");
        }
        Ok(())
    })?;
    let words = state.order.take(chain)?;
    for (round, part) in words.chunks(4).enumerate() {
        check!(part.iter().all(|word| word & 0xffff_ffff == round as u64), "round {round} is not together");
    }
    check_each_ascends(&words, 4, 25)
}

/// Readers and writers in several processes.
pub fn rwlock(chain: &mut Chain) -> Result {
    struct State {
        lock: Object<libc::pthread_rwlock_t>,
        words: [AtomicU64; 4],
        order: Order,
    }
    let state = Shared::<State>::new()?;
    let attributes = Object::<libc::pthread_rwlockattr_t>::new();
    posix!(pthread_rwlockattr_init(attributes.get()))?;
    posix!(pthread_rwlockattr_setpshared(attributes.get(), Scope::Processes.number()))?;
    posix!(pthread_rwlock_init(state.lock.get(), attributes.get()))?;
    children(4, &state, chain, |index, state| {
        for _ in 0..40 {
            if index == 0 {
                posix!(pthread_rwlock_wrlock(state.lock.get()))?;
                state.words.iter().for_each(add);
            } else {
                posix!(pthread_rwlock_rdlock(state.lock.get()))?;
                let words = state.words.each_ref().map(|word| word.load(Ordering::Relaxed));
                thread::rest()?;
                check!(words.iter().all(|word| *word == words[0]), "a reader saw {words:?}");
                state.order.note(by(index, words[0]));
            }
            posix!(pthread_rwlock_unlock(state.lock.get()))?;
            thread::rest()?;
        }
        Ok(())
    })?;
    check_eq!(state.order.take(chain)?.len(), 120, "reads");
    check_eq!(state.words[3].load(Ordering::SeqCst), 40, "writes");
    Ok(())
}

/// A semaphore that processes open by its name.
pub fn named(chain: &mut Chain) -> Result {
    let name: CString = fd::c(&format!("/guest-{}", pid()));
    let semaphore = plain!(sem_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o600, 1));
    if semaphore == libc::SEM_FAILED {
        return unsupported("sem_open: /dev/shm is not there");
    }
    let state = Shared::<Locked>::new()?;
    let done = children(3, &state, chain, |index, state| {
        let own = plain!(sem_open(name.as_ptr(), 0));
        check!(own != libc::SEM_FAILED, "the semaphore cannot be opened by its name");
        for round in 0..40 {
            sys!(sem_wait(own))?;
            add(&state.count);
            state.order.note(by(index, round));
            thread::rest()?;
            sys!(sem_post(own))?;
        }
        sys!(sem_close(own)).map(drop)
    });
    sys!(sem_unlink(name.as_ptr()))?;
    done?;
    check_eq!(state.count.load(Ordering::SeqCst), 120, "the count");
    sys!(sem_close(semaphore))?;
    check_each_ascends(&state.order.take(chain)?, 3, 40)
}
