//! A lock by raw futexes: 0 free, 1 held, 2 held and waited for.

use std::sync::atomic::{AtomicU32, Ordering};

use super::objects::Scope;
use crate::kit::Result;
use crate::kit::call::errno;

/// The lock's word.
#[repr(transparent)]
#[derive(Debug)]
pub struct Futex(AtomicU32);

impl Futex {
    /// Waits for it.
    pub fn lock(&self, scope: Scope) -> Result {
        if self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Ok(());
        }
        while self.0.swap(2, Ordering::Acquire) != 0 {
            let none = std::ptr::null::<libc::timespec>();
            // SAFETY: the word is alive; without a time limit.
            let result = unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation(libc::FUTEX_WAIT, scope), 2, none) };
            check!(result == 0 || matches!(errno(), libc::EAGAIN | libc::EINTR), "error {} of a futex", errno());
        }
        Ok(())
    }

    /// Gives it back.
    pub fn unlock(&self, scope: Scope) -> Result {
        if self.0.swap(0, Ordering::Release) == 2 {
            raw!(SYS_futex, self.0.as_ptr(), operation(libc::FUTEX_WAKE, scope), 1)?;
        }
        Ok(())
    }
}

fn operation(operation: i32, scope: Scope) -> i32 {
    if scope == Scope::Threads { operation | libc::FUTEX_PRIVATE_FLAG } else { operation }
}
