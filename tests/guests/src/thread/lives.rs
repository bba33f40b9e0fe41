//! Beginnings and ends of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kit::order::by;
use crate::kit::posix::Object;
use crate::kit::process::{exit_now, fork, join_code, wait};
use crate::kit::thread::{self, tid};
use crate::kit::{Chain, Order, Result, clock, fd};

/// Threads have numbers of their own, share the process's, and give back what they return.
pub fn join(chain: &mut Chain) -> Result {
    let state = Arc::new(Order::new());
    let results = thread::all(8, &state, |index, order| {
        check_eq!(plain!(getpid()), std::process::id() as i32, "process number");
        order.note(by(index, tid() as u64));
        Ok((tid(), u64::from_le_bytes(fd::random(8)?.try_into().expect("8 bytes"))))
    })?;
    let mut numbers: Vec<i32> = results.iter().map(|(number, _)| *number).collect();
    numbers.push(tid());
    numbers.sort_unstable();
    numbers.dedup();
    check!(numbers.len() > 1 && numbers.contains(&tid()), "numbers of threads {numbers:?}");
    for (number, random) in results {
        chain.num(number);
        chain.num(random);
    }
    check_eq!(state.take(chain)?.len(), 8, "notes");
    Ok(())
}

/// Detached threads: nobody joins them, they say by a semaphore that they are through.
pub fn detached(chain: &mut Chain) -> Result {
    let state = Arc::new((Order::new(), Object::<libc::sem_t>::new()));
    sys!(sem_init(state.1.get(), 0, 0))?;
    for index in 0..10 {
        let state = Arc::clone(&state);
        drop(thread::start(move || {
            state.0.note(by(index, tid() as u64));
            sys!(sem_post(state.1.get()))?;
            Ok(())
        })?);
    }
    for _ in 0..10 {
        while plain!(sem_wait(state.1.get())) != 0 {}
    }
    check_eq!(state.0.take(chain)?.len(), 10, "notes");
    Ok(())
}

/// A hundred threads at once.
pub fn many(chain: &mut Chain) -> Result {
    let state = Arc::new((Order::new(), std::sync::Barrier::new(100)));
    let numbers = thread::all(100, &state, |index, (order, barrier)| {
        order.note(by(index, 0));
        barrier.wait();
        order.note(by(index, 1));
        Ok(tid())
    })?;
    let words = state.0.take(chain)?;
    crate::kit::order::check_each_ascends(&words, 100, 2)?;
    check!(words[..100].iter().all(|word| word & 1 == 0), "somebody passed the barrier before all had come");
    let mut distinct = numbers.clone();
    distinct.sort_unstable();
    distinct.dedup();
    check_eq!(distinct.len(), 100, "different numbers");
    numbers.into_iter().for_each(|number| chain.num(number));
    Ok(())
}

/// 150 threads one behind the other: their stacks are used again, their numbers are not soon.
pub fn reuse(chain: &mut Chain) -> Result {
    let mut last = 0;
    for round in 0..150u64 {
        let (number, stack) = thread::join(thread::start(move || {
            let local = round;
            Ok((tid(), (&raw const local).addr()))
        })?)?;
        check!(number != last, "two threads have number {number}");
        last = number;
        chain.num(number);
        chain.num(stack);
    }
    Ok(())
}

/// Forty threads are still there when the process ends: which of them goes last is the kernel's choice.
pub fn left_behind(chain: &mut Chain) -> Result {
    let ready: &AtomicU32 = Box::leak(Box::default());
    for _ in 0..40 {
        drop(thread::start(move || {
            ready.fetch_add(1, Ordering::SeqCst);
            clock::sleep_ms(100_000)
        })?);
    }
    thread::until(|| ready.load(Ordering::SeqCst) == 40)?;
    chain.bytes(&fd::random(8)?);
    Ok(())
}

/// The first thread ends before the others: the process lives on, and its exit code is the first thread's or, of newer kernels, the
/// last one's.
pub fn main_ends_first(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    let child = fork(|| {
        for index in 0..3u8 {
            let _ = thread::start(move || {
                clock::sleep_ms(20 + i64::from(index) * 5)?;
                let mut line = vec![index];
                line.extend(fd::random(7)?);
                fd::write_all(write, &line)
            })?;
        }
        plain!(syscall(libc::SYS_exit, 7));
        Ok(99)
    })?;
    fd::close(write)?;
    let lines = fd::read_to_end(read)?;
    check_eq!(lines.len(), 24, "bytes of three threads");
    chain.bytes(&lines);
    let status = wait(child)?;
    check!(libc::WIFEXITED(status) && [0, 7].contains(&libc::WEXITSTATUS(status)), "status {status:#x}");
    chain.num(status);
    fd::close(read)
}

/// exit_group by one thread ends the others, whatever they wait for.
pub fn exit_group(chain: &mut Chain) -> Result {
    for code in [9, 0, 77] {
        let (read, write) = fd::pipe()?;
        let child = fork(|| {
            let ready: &AtomicU32 = Box::leak(Box::default());
            let never: &AtomicU32 = Box::leak(Box::default());
            let _ = thread::start(move || {
                ready.fetch_add(1, Ordering::SeqCst);
                fd::read_exact(read, 1).map(drop)
            })?;
            let _ = thread::start(move || {
                ready.fetch_add(1, Ordering::SeqCst);
                clock::sleep_ms(100_000)
            })?;
            let _ = thread::start(move || {
                ready.fetch_add(1, Ordering::SeqCst);
                crate::futex::wait(never, 0, None).map(drop)
            })?;
            let _ = thread::start(move || -> Result {
                thread::until(|| ready.load(Ordering::SeqCst) == 3)?;
                clock::sleep_ms(2)?;
                exit_now(code)
            })?;
            plain!(pause());
            Ok(99)
        })?;
        join_code(child, code)?;
        chain.num(child);
        fd::close_all(&[read, write])?;
    }
    Ok(())
}
