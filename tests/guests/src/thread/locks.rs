//! Locks of the C library among threads.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Once};

use crate::kit::clock::{MS_NS, now, timespec};
use crate::kit::order::{by, check_each_ascends};
use crate::kit::posix::{Mutex, Object, Scope};
use crate::kit::thread::{self, tid};
use crate::kit::{Chain, Order, Result, fd};

/// Adds without the machine's help: only a lock makes it right.
fn add(count: &AtomicU64) {
    let value = count.load(Ordering::Relaxed);
    std::hint::black_box(value);
    count.store(value + 1, Ordering::Relaxed);
}

/// A mutex that threads fight for, some with calls inside.
pub fn contended(chain: &mut Chain) -> Result {
    let state = Arc::new((Mutex::new(), AtomicU64::new(0), Order::new()));
    state.0.init(libc::PTHREAD_MUTEX_NORMAL, Scope::Private, false)?;
    thread::all(4, &state, |index, (mutex, count, order)| {
        for round in 0..200 {
            mutex.lock()?;
            add(count);
            order.note(by(index, round));
            if round % 16 == index as u64 {
                thread::rest()?;
            }
            mutex.unlock()?;
        }
        Ok(())
    })?;
    check_eq!(state.1.load(Ordering::SeqCst), 800, "the count");
    check_each_ascends(&state.2.take(chain)?, 4, 200)
}

/// Mutexes that check, that count, and that wait only so long.
pub fn kinds(chain: &mut Chain) -> Result {
    let mutex = Arc::new(Mutex::new());
    mutex.init(libc::PTHREAD_MUTEX_ERRORCHECK, Scope::Private, false)?;
    mutex.lock()?;
    gives!(EDEADLK, pthread_mutex_lock(mutex.get()))?;
    let shared = Arc::clone(&mutex);
    let waited = thread::join(thread::start(move || {
        gives!(EBUSY, pthread_mutex_trylock(shared.get()))?;
        gives!(EPERM, pthread_mutex_unlock(shared.get()))?;
        let before = now(libc::CLOCK_REALTIME)?;
        let until = timespec(before + 10 * MS_NS);
        gives!(ETIMEDOUT, pthread_mutex_timedlock(shared.get(), &raw const until))?;
        Ok(now(libc::CLOCK_REALTIME)? - before)
    })?)?;
    check!(waited >= 10 * MS_NS, "the lock was waited for only {waited} ns");
    chain.num(waited);
    mutex.unlock()?;
    posix!(pthread_mutex_destroy(mutex.get()))?;
    mutex.init(libc::PTHREAD_MUTEX_RECURSIVE, Scope::Private, false)?;
    for _ in 0..5 {
        mutex.lock()?;
    }
    let shared = Arc::clone(&mutex);
    let other = thread::start(move || {
        shared.lock()?;
        shared.unlock()?;
        Ok(tid())
    })?;
    for _ in 0..5 {
        gives!(EBUSY, pthread_mutex_destroy(mutex.get()))?;
        thread::rest()?;
        mutex.unlock()?;
    }
    chain.num(thread::join(other)?);
    Ok(())
}

/// Who takes a robust mutex after its owner has died is told so, and may repair it or not.
pub fn robust(chain: &mut Chain) -> Result {
    for repair in [true, false] {
        let mutex = Arc::new(Mutex::new());
        mutex.init(libc::PTHREAD_MUTEX_NORMAL, Scope::Private, true)?;
        let held = Arc::new(AtomicI32::new(0));
        let (shared, told) = (Arc::clone(&mutex), Arc::clone(&held));
        let owner = thread::start(move || {
            shared.lock()?;
            told.store(1, Ordering::SeqCst);
            crate::kit::clock::sleep_ms(5)?;
            Ok(tid())
        })?;
        thread::until(|| held.load(Ordering::SeqCst) == 1)?;
        gives!(EOWNERDEAD, pthread_mutex_lock(mutex.get()))?;
        chain.num(thread::join(owner)?);
        if repair {
            posix!(pthread_mutex_consistent(mutex.get()))?;
            mutex.unlock()?;
            mutex.lock()?;
            mutex.unlock()?;
        } else {
            mutex.unlock()?;
            gives!(ENOTRECOVERABLE, pthread_mutex_lock(mutex.get()))?;
        }
        chain.num(repair);
    }
    Ok(())
}

/// Readers are together, writers alone.
pub fn rwlock(chain: &mut Chain) -> Result {
    let state = Arc::new((Object::<libc::pthread_rwlock_t>::new(), AtomicI32::new(0), AtomicU64::new(0), Order::new()));
    posix!(pthread_rwlock_init(state.0.get(), std::ptr::null()))?;
    thread::all(5, &state, |index, (lock, inside, count, order)| {
        for round in 0..40 {
            if index < 2 {
                posix!(pthread_rwlock_wrlock(lock.get()))?;
                check_eq!(inside.swap(-1, Ordering::SeqCst), 0, "others inside with a writer");
                add(count);
                order.note(by(index, round));
                thread::rest()?;
                inside.store(0, Ordering::SeqCst);
            } else {
                posix!(pthread_rwlock_rdlock(lock.get()))?;
                check!(inside.fetch_add(1, Ordering::SeqCst) >= 0, "a writer is inside with a reader");
                order.note(by(index, count.load(Ordering::Relaxed)));
                thread::rest()?;
                inside.fetch_sub(1, Ordering::SeqCst);
            }
            posix!(pthread_rwlock_unlock(lock.get()))?;
        }
        Ok(())
    })?;
    check_eq!(state.2.load(Ordering::SeqCst), 80, "the count");
    check_eq!(state.3.take(chain)?.len(), 200, "notes");
    Ok(())
}

/// Rounds that nobody begins before all have ended the last one; one of them is told that it was the last to come.
pub fn barrier(chain: &mut Chain) -> Result {
    const COUNT: usize = 5;
    let state = Arc::new((Object::<libc::pthread_barrier_t>::new(), Order::new()));
    posix!(pthread_barrier_init(state.0.get(), std::ptr::null(), COUNT as u32))?;
    let serial = thread::all(COUNT, &state, |index, (barrier, order)| {
        let mut chosen = 0;
        for round in 0..30 {
            order.note(by(index, round));
            let result = plain!(pthread_barrier_wait(barrier.get()));
            check!(result == 0 || result == libc::PTHREAD_BARRIER_SERIAL_THREAD, "the barrier gave {result}");
            chosen += u32::from(result != 0);
        }
        Ok(chosen)
    })?;
    check_eq!(serial.iter().sum::<u32>(), 30, "rounds with a chosen thread");
    serial.into_iter().for_each(|count| chain.num(count));
    let words = state.1.take(chain)?;
    for (round, part) in words.chunks(COUNT).enumerate() {
        check!(part.iter().all(|word| word & 0xffff_ffff == round as u64), "round {round} is not together");
    }
    Ok(())
}

/// A semaphore lets so many in.
pub fn semaphore(chain: &mut Chain) -> Result {
    let state = Arc::new((Object::<libc::sem_t>::new(), AtomicI32::new(0), Order::new()));
    sys!(sem_init(state.0.get(), 0, 2))?;
    thread::all(6, &state, |index, (semaphore, inside, order)| {
        for round in 0..20 {
            sys!(sem_wait(semaphore.get()))?;
            let now = inside.fetch_add(1, Ordering::SeqCst);
            check!(now < 2, "{now} others are inside");
            order.note(by(index, round));
            if fd::random(1)?[0] & 1 == 0 {
                thread::rest()?;
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            sys!(sem_post(semaphore.get()))?;
        }
        Ok(())
    })?;
    check_each_ascends(&state.2.take(chain)?, 6, 20)?;
    let mut value = 0;
    sys!(sem_getvalue(state.0.get(), &raw mut value))?;
    check_eq!(value, 2, "the semaphore's value");
    sys!(sem_wait(state.0.get()))?;
    sys!(sem_wait(state.0.get()))?;
    fails!(EAGAIN, sem_trywait(state.0.get()))?;
    let until = timespec(now(libc::CLOCK_REALTIME)? + 5 * MS_NS);
    fails!(ETIMEDOUT, sem_timedwait(state.0.get(), &raw const until))
}

/// A lock of this program's own that only spins, with now and then a call inside.
pub fn spin(chain: &mut Chain) -> Result {
    let state = Arc::new((AtomicI32::new(0), AtomicU64::new(0), Order::new()));
    thread::all(3, &state, |index, (lock, count, order)| {
        for round in 0..100 {
            while lock.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                std::hint::spin_loop();
            }
            add(count);
            order.note(by(index, round));
            if round == 50 {
                // The others spin all the while.
                thread::rest()?;
            }
            lock.store(0, Ordering::SeqCst);
        }
        Ok(())
    })?;
    check_eq!(state.1.load(Ordering::SeqCst), 300, "the count");
    check_each_ascends(&state.2.take(chain)?, 3, 100)
}

/// Of all who ask for it one does it, and the others wait until it is done.
pub fn once(chain: &mut Chain) -> Result {
    let state = Arc::new(([const { Once::new() }; 10], AtomicU64::new(0), Order::new()));
    thread::all(5, &state, |index, (onces, count, order)| {
        for (round, once) in onces.iter().enumerate() {
            once.call_once(|| {
                order.note(by(index, round as u64));
                std::thread::yield_now();
                count.fetch_add(1, Ordering::SeqCst);
            });
            check!(count.load(Ordering::SeqCst) > round as u64, "round {round} is not done");
        }
        Ok(())
    })?;
    check_eq!(state.2.take(chain)?.len(), 10, "times that it was done");
    Ok(())
}
