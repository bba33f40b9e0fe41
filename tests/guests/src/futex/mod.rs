//! Futexes, by the system call itself.

mod lists;
mod newer;
mod pairs;
mod waits;

use std::sync::atomic::AtomicU32;

use crate::kit::Result;
use crate::kit::call::errno;
use crate::kit::clock::timespec;
use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Futex, run }
}

pub const GUESTS: &[Guest] = &[
    guest("futex_wait_wake", waits::wait_wake),
    guest("futex_errors", waits::errors),
    guest("futex_timeouts", waits::timeouts),
    guest("futex_interrupted", waits::interrupted),
    guest("futex_bitset", lists::bitset),
    guest("futex_requeue", lists::requeue),
    guest("futex_cmp_requeue", lists::cmp_requeue),
    guest("futex_wake_op", lists::wake_op),
    guest("futex_waitv", newer::waitv),
    guest("futex2", newer::futex2),
    guest("futex_inherit", newer::inherit),
    guest("futex_lock", pairs::lock),
    guest("futex_ping_pong", pairs::ping_pong),
    guest("futex_processes", pairs::processes),
];

/// A futex call by operation; the fourth argument is a number or a pointer.
pub fn futex(word: &AtomicU32, operation: i32, value: u32, fourth: usize, second: &AtomicU32, third: u32) -> i64 {
    plain!(syscall(libc::SYS_futex, word.as_ptr(), operation, value, fourth, second.as_ptr(), third))
}

/// Waits while the word has a value; the error that ended the wait, or 0 for a wake. `limit_ns` is how long at most.
pub fn wait(word: &AtomicU32, value: u32, limit_ns: Option<i64>) -> Result<i32> {
    wait_by(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, word, value, limit_ns)
}

/// As [`wait`], among processes; a wake, a changed word and a signal are all the same to the caller.
pub fn wait_shared(word: &AtomicU32, value: u32) -> Result {
    let error = wait_by(libc::FUTEX_WAIT, word, value, None)?;
    check!([0, libc::EAGAIN, libc::EINTR].contains(&error), "the wait ended with errno {error}");
    Ok(())
}

fn wait_by(operation: i32, word: &AtomicU32, value: u32, limit_ns: Option<i64>) -> Result<i32> {
    let limit = limit_ns.map(timespec);
    let pointer = limit.as_ref().map_or(0, |limit| std::ptr::from_ref(limit).addr());
    match futex(word, operation, value, pointer, word, 0) {
        0 => Ok(0),
        -1 => Ok(errno()),
        other => anyhow::bail!("a futex wait gave {other}"),
    }
}

/// Wakes at most so many; how many there were.
pub fn wake(word: &AtomicU32, count: u32) -> Result<i64> {
    wake_by(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, word, count)
}

/// As [`wake`], among processes.
pub fn wake_shared(word: &AtomicU32, count: u32) -> Result<i64> {
    wake_by(libc::FUTEX_WAKE, word, count)
}

fn wake_by(operation: i32, word: &AtomicU32, count: u32) -> Result<i64> {
    crate::kit::call::outcome(futex(word, operation, count, 0, word, 0), "futex wake", file!(), line!())
}
