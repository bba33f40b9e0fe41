//! Memory that processes share.

mod files;
mod free;
mod locks;
mod rings;

use std::marker::PhantomData;
use std::ops::Deref;

use crate::kit::Result;
use crate::kit::guest::{Family, Guest, Run};
use crate::memory::Map;

pub use free::children;

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Shared, run }
}

pub const GUESTS: &[Guest] = &[
    guest("shared_anonymous", free::anonymous),
    guest("shared_counter", free::counter),
    guest("shared_spin_turns", free::spin),
    guest("shared_seqlock", free::seqlock),
    guest("shared_threads_and_processes", free::mixed),
    guest("shared_ring", rings::ring),
    guest("shared_pool", rings::pool),
    guest("shared_file", files::file),
    guest("shared_memfd", files::memfd),
    guest("shared_memfd_passed", files::passed),
    guest("shared_posix", files::posix),
    guest("shared_remap", files::remap),
    guest("shared_msync", files::msync),
    guest("process_mutex", locks::mutex),
    guest("process_mutex_robust", locks::robust),
    guest("process_condition", locks::condition),
    guest("process_semaphore", locks::semaphore),
    guest("process_barrier", locks::barrier),
    guest("process_rwlock", locks::rwlock),
    guest("named_semaphore", locks::named),
];

/// A value in a mapping that this process shares with those that it forks. At first all its bytes are zero.
#[derive(Debug)]
pub struct Shared<T> {
    map: Map,
    kind: PhantomData<T>,
}

impl<T> Shared<T> {
    /// In memory of no file. `T` must be made of atomics and C objects for which zeros are a value, as all of these guests are.
    pub fn new() -> Result<Self> {
        Self::of(-1, libc::MAP_SHARED | libc::MAP_ANONYMOUS)
    }

    /// In a file, which it makes long enough.
    pub fn of_file(fd: i32) -> Result<Self> {
        sys!(ftruncate(fd, size_of::<T>() as i64))?;
        Self::of(fd, libc::MAP_SHARED)
    }

    /// In a file that is long enough.
    pub fn of(fd: i32, flags: i32) -> Result<Self> {
        let map = Map::new(size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)?;
        Ok(Self { map, kind: PhantomData })
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a mapping of the type's size, aligned to a page, whose zeros are a value of the type; what processes change in
        // it are atomics and objects behind `UnsafeCell`.
        unsafe { &*self.map.start().cast::<T>() }
    }
}
