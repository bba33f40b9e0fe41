//! The locks and what each of them guards, as one structure to be laid into memory of zeros.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::futex::Futex;
use super::objects::{Barrier, Condition, Mutex, ReadWrite, Scope, Semaphore};
use crate::kit::Result;

/// Holders that the semaphore lets in.
pub const PERMITS: u32 = 2;
/// Tasks that meet at the barrier.
pub const MEETING: u32 = 3;
/// Places of the queue.
pub const PLACES: u64 = 4;
/// The mutex that tells when its holder has died.
pub const ROBUST: usize = 2;

/// Everything that tasks compete for.
#[repr(C)]
pub struct Locks {
    pub mutexes: [Mutex; 3],
    /// Who holds each mutex; 0: nobody.
    pub holders: [AtomicU64; 3],
    pub read_write: ReadWrite,
    /// Equal whenever somebody reads.
    pub pair: [AtomicU64; 2],
    pub semaphore: Semaphore,
    /// Tasks that have a permit.
    pub inside: AtomicU64,
    pub queue: Queue,
    pub futex: Futex,
    /// Who holds the futex.
    pub futex_holder: AtomicU64,
    pub barrier: Barrier,
    /// Arrivals at the barrier, all in all.
    pub arrivals: AtomicU64,
    /// Set between two meetings: this one was the last.
    pub adjourned: AtomicBool,
    /// Everybody is to end.
    pub stop: AtomicBool,
}

/// A queue of numbers 1, 2, 3 …
#[repr(C)]
pub struct Queue {
    pub mutex: Mutex,
    pub not_empty: Condition,
    pub not_full: Condition,
    /// Numbers put in so far.
    pub put: AtomicU64,
    /// Numbers taken out so far.
    pub taken: AtomicU64,
    pub places: [AtomicU64; PLACES as usize],
}

impl Locks {
    /// Makes every lock. The memory is zero.
    pub fn init(&self, scope: Scope) -> Result {
        for (number, mutex) in self.mutexes.iter().enumerate() {
            mutex.init(scope, number == ROBUST)?;
        }
        self.read_write.init(scope)?;
        self.semaphore.init(scope, PERMITS)?;
        self.queue.mutex.init(scope, false)?;
        self.queue.not_empty.init(scope)?;
        self.queue.not_full.init(scope)?;
        self.barrier.init(scope, MEETING)
    }

    /// Whether everybody is to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Tells everybody to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Maps zeros for a structure of the kind above: `flags` and `fd` as `mmap` has them. It stays until the process ends.
pub fn map<T>(flags: i32, fd: i32) -> Result<&'static T> {
    let memory = sys!(mmap(std::ptr::null_mut(), size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0))?;
    // SAFETY: fresh memory of the size, aligned to a page and never unmapped; zeros are good for integers and for objects that
    // are made before they are used, and everything in it is shared by atomics or locks.
    Ok(unsafe { &*memory.cast::<T>() })
}
