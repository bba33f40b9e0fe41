//! The pthread objects, to be made in place: in memory of one process, or in memory that several share.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use crate::kit::Result;
use crate::kit::call::errno;
use crate::kit::clock::{now, timespec};

/// Who uses an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Threads of one process.
    Threads,
    /// Every process that maps it.
    Processes,
}

impl Scope {
    fn shared(self) -> i32 {
        match self {
            Self::Threads => libc::PTHREAD_PROCESS_PRIVATE,
            Self::Processes => libc::PTHREAD_PROCESS_SHARED,
        }
    }
}

/// The result of a function that returns its error.
fn done(code: i32, name: &str) -> Result {
    check_eq!(code, 0, "error of {name}");
    Ok(())
}

/// A time limit from now, on the clock that pthread functions use.
fn deadline(limit_ns: i64) -> Result<libc::timespec> {
    Ok(timespec(now(libc::CLOCK_REALTIME)? + limit_ns))
}

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => { $(
        $(#[$doc])*
        #[repr(transparent)]
        pub struct $name(UnsafeCell<libc::$kind>);
        // SAFETY: such objects are made to be used by several threads, and only by their functions.
        unsafe impl Sync for $name {}
    )* };
}

objects! {
    /// A mutex; robust ones tell when their holder has died.
    Mutex: pthread_mutex_t;
    /// A condition variable.
    Condition: pthread_cond_t;
    /// A lock for one writer or many readers.
    ReadWrite: pthread_rwlock_t;
    /// A counting semaphore.
    Semaphore: sem_t;
    /// A place where a number of tasks wait for each other.
    Barrier: pthread_barrier_t;
}

/// How a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    Plainly,
    /// Its holder had died.
    Inherited,
    TimedOut,
}

impl Mutex {
    /// Makes it.
    pub fn init(&self, scope: Scope, robust: bool) -> Result {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::zeroed();
        let attributes = attributes.as_mut_ptr();
        let robust = if robust { libc::PTHREAD_MUTEX_ROBUST } else { libc::PTHREAD_MUTEX_STALLED };
        done(plain!(pthread_mutexattr_init(attributes)), "pthread_mutexattr_init")?;
        done(plain!(pthread_mutexattr_setpshared(attributes, scope.shared())), "pthread_mutexattr_setpshared")?;
        done(plain!(pthread_mutexattr_setrobust(attributes, robust)), "pthread_mutexattr_setrobust")?;
        done(plain!(pthread_mutex_init(self.0.get(), attributes)), "pthread_mutex_init")
    }

    fn got(&self, code: i32) -> Result<Got> {
        match code {
            0 => Ok(Got::Plainly),
            libc::EOWNERDEAD => {
                done(plain!(pthread_mutex_consistent(self.0.get())), "pthread_mutex_consistent")?;
                Ok(Got::Inherited)
            }
            libc::ETIMEDOUT => Ok(Got::TimedOut),
            other => anyhow::bail!("error {other} of a mutex"),
        }
    }

    /// Waits for it.
    pub fn lock(&self) -> Result<Got> {
        self.got(plain!(pthread_mutex_lock(self.0.get())))
    }

    /// Waits for it for some time.
    pub fn lock_within(&self, limit_ns: i64) -> Result<Got> {
        let end = deadline(limit_ns)?;
        self.got(plain!(pthread_mutex_timedlock(self.0.get(), &raw const end)))
    }

    /// Gives it back.
    pub fn unlock(&self) -> Result {
        done(plain!(pthread_mutex_unlock(self.0.get())), "pthread_mutex_unlock")
    }
}

impl Condition {
    /// Makes it.
    pub fn init(&self, scope: Scope) -> Result {
        let mut attributes = MaybeUninit::<libc::pthread_condattr_t>::zeroed();
        let attributes = attributes.as_mut_ptr();
        done(plain!(pthread_condattr_init(attributes)), "pthread_condattr_init")?;
        done(plain!(pthread_condattr_setpshared(attributes, scope.shared())), "pthread_condattr_setpshared")?;
        done(plain!(pthread_cond_init(self.0.get(), attributes)), "pthread_cond_init")
    }

    /// Waits for some time, with the mutex given back meanwhile; whether it was woken.
    pub fn wait(&self, mutex: &Mutex, limit_ns: i64) -> Result<bool> {
        let end = deadline(limit_ns)?;
        match plain!(pthread_cond_timedwait(self.0.get(), mutex.0.get(), &raw const end)) {
            libc::ETIMEDOUT => Ok(false),
            code => done(code, "pthread_cond_timedwait").map(|()| true),
        }
    }

    /// Wakes one, or all.
    pub fn wake(&self, all: bool) -> Result {
        if all {
            done(plain!(pthread_cond_broadcast(self.0.get())), "pthread_cond_broadcast")
        } else {
            done(plain!(pthread_cond_signal(self.0.get())), "pthread_cond_signal")
        }
    }
}

impl ReadWrite {
    /// Makes it.
    pub fn init(&self, scope: Scope) -> Result {
        let mut attributes = MaybeUninit::<libc::pthread_rwlockattr_t>::zeroed();
        let attributes = attributes.as_mut_ptr();
        done(plain!(pthread_rwlockattr_init(attributes)), "pthread_rwlockattr_init")?;
        done(plain!(pthread_rwlockattr_setpshared(attributes, scope.shared())), "pthread_rwlockattr_setpshared")?;
        done(plain!(pthread_rwlock_init(self.0.get(), attributes)), "pthread_rwlock_init")
    }

    /// Waits to read.
    pub fn read(&self) -> Result {
        done(plain!(pthread_rwlock_rdlock(self.0.get())), "pthread_rwlock_rdlock")
    }

    /// Waits to write.
    pub fn write(&self) -> Result {
        done(plain!(pthread_rwlock_wrlock(self.0.get())), "pthread_rwlock_wrlock")
    }

    /// Gives it back.
    pub fn unlock(&self) -> Result {
        done(plain!(pthread_rwlock_unlock(self.0.get())), "pthread_rwlock_unlock")
    }
}

impl Semaphore {
    /// Makes it with so many permits.
    pub fn init(&self, scope: Scope, permits: u32) -> Result {
        sys!(sem_init(self.0.get(), i32::from(scope == Scope::Processes), permits)).map(drop)
    }

    /// Waits for a permit for some time; whether there was one.
    pub fn wait(&self, limit_ns: i64) -> Result<bool> {
        let end = deadline(limit_ns)?;
        if plain!(sem_timedwait(self.0.get(), &raw const end)) == 0 {
            return Ok(true);
        }
        check_eq!(errno(), libc::ETIMEDOUT, "error of sem_timedwait");
        Ok(false)
    }

    /// Gives one back.
    pub fn post(&self) -> Result {
        sys!(sem_post(self.0.get())).map(drop)
    }
}

impl Barrier {
    /// Makes it for so many.
    pub fn init(&self, scope: Scope, members: u32) -> Result {
        let mut attributes = MaybeUninit::<libc::pthread_barrierattr_t>::zeroed();
        let attributes = attributes.as_mut_ptr();
        done(plain!(pthread_barrierattr_init(attributes)), "pthread_barrierattr_init")?;
        done(plain!(pthread_barrierattr_setpshared(attributes, scope.shared())), "pthread_barrierattr_setpshared")?;
        done(plain!(pthread_barrier_init(self.0.get(), attributes, members)), "pthread_barrier_init")
    }

    /// Waits for the others; whether this is the one of them that is told so.
    pub fn wait(&self) -> Result<bool> {
        match plain!(pthread_barrier_wait(self.0.get())) {
            libc::PTHREAD_BARRIER_SERIAL_THREAD => Ok(true),
            code => done(code, "pthread_barrier_wait").map(|()| false),
        }
    }
}
