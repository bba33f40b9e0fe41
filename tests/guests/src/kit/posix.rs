//! Locks of the C library, in memory that threads or processes share.

use std::cell::UnsafeCell;

use crate::kit::plain::Plain;
use crate::kit::{Result, zero};

/// An object that the C library changes behind a pointer.
#[repr(transparent)]
pub struct Object<T>(UnsafeCell<T>);

// SAFETY: only its address is given away; the C library's functions on these types may be called by any thread.
unsafe impl<T> Sync for Object<T> {}
// SAFETY: as above; it is moved only before its first use.
unsafe impl<T> Send for Object<T> {}

impl<T: Plain> Object<T> {
    /// All bytes zero.
    pub fn new() -> Self {
        Self(UnsafeCell::new(zero()))
    }
}

impl<T> Object<T> {
    /// Its address.
    pub fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// Checks the number that a function gave back.
pub fn gives(found: i32, wanted: i32, name: &str, file: &str, line: u32) -> Result {
    if found != wanted {
        anyhow::bail!("{name} gave error {found} instead of {wanted} at {file}:{line}");
    }
    Ok(())
}

/// `posix!(pthread_mutex_lock(lock.get()))?`: a function that gives its error back, which must be none.
macro_rules! posix {
    ($name:ident($($arg:expr),* $(,)?)) => {
        // SAFETY: the contract of `kit::call`.
        $crate::kit::posix::gives(unsafe { libc::$name($($arg),*) }, 0, stringify!($name), file!(), line!())
    };
}

/// `gives!(EBUSY, pthread_mutex_trylock(lock.get()))?`: a function that must give this error back.
macro_rules! gives {
    ($errno:ident, $name:ident($($arg:expr),* $(,)?)) => {
        // SAFETY: the contract of `kit::call`.
        $crate::kit::posix::gives(unsafe { libc::$name($($arg),*) }, libc::$errno, stringify!($name), file!(), line!())
    };
}

/// A mutex.
pub type Mutex = Object<libc::pthread_mutex_t>;
/// A condition variable.
pub type Condition = Object<libc::pthread_cond_t>;

/// Who may use a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Private,
    Processes,
}

impl Scope {
    /// As the attributes have it.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Scope::Private => libc::PTHREAD_PROCESS_PRIVATE,
            Scope::Processes => libc::PTHREAD_PROCESS_SHARED,
        }
    }
}

impl Mutex {
    /// Initialises it with a type (`PTHREAD_MUTEX_NORMAL` ...).
    pub fn init(&self, kind: i32, scope: Scope, robust: bool) -> Result {
        let attributes = Object::<libc::pthread_mutexattr_t>::new();
        posix!(pthread_mutexattr_init(attributes.get()))?;
        posix!(pthread_mutexattr_settype(attributes.get(), kind))?;
        posix!(pthread_mutexattr_setpshared(attributes.get(), scope.number()))?;
        if robust {
            posix!(pthread_mutexattr_setrobust(attributes.get(), libc::PTHREAD_MUTEX_ROBUST))?;
        }
        posix!(pthread_mutex_init(self.get(), attributes.get()))
    }

    /// Takes it.
    pub fn lock(&self) -> Result {
        posix!(pthread_mutex_lock(self.get()))
    }

    /// Gives it back.
    pub fn unlock(&self) -> Result {
        posix!(pthread_mutex_unlock(self.get()))
    }
}

impl Condition {
    /// Initialises it; times are of CLOCK_MONOTONIC.
    pub fn init(&self, scope: Scope) -> Result {
        let attributes = Object::<libc::pthread_condattr_t>::new();
        posix!(pthread_condattr_init(attributes.get()))?;
        posix!(pthread_condattr_setclock(attributes.get(), libc::CLOCK_MONOTONIC))?;
        posix!(pthread_condattr_setpshared(attributes.get(), scope.number()))?;
        posix!(pthread_cond_init(self.get(), attributes.get()))
    }

    /// Waits with the mutex released.
    pub fn wait(&self, mutex: &Mutex) -> Result {
        posix!(pthread_cond_wait(self.get(), mutex.get()))
    }

    /// Wakes one.
    pub fn signal(&self) -> Result {
        posix!(pthread_cond_signal(self.get()))
    }

    /// Wakes all.
    pub fn broadcast(&self) -> Result {
        posix!(pthread_cond_broadcast(self.get()))
    }
}
