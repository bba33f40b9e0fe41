//! How a task is scheduled: sched_setscheduler(2).

use std::io;

/// Tasks that take turns: one priority, so that none ever interrupts another.
pub const TURNS: i32 = 10;
/// Whoever decides about turns, and must not wait for one.
pub const ABOVE: i32 = 20;

fn set(tid: i32, policy: libc::c_int, priority: i32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: a live structure that the call reads.
    let result = unsafe { libc::sched_setscheduler(tid, policy, &raw const param) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Runs until it blocks; its children do, too. 0 is the caller.
///
/// # Errors
/// `EPERM` without privileges, and in a cgroup without a budget of real time.
pub fn set_fifo(tid: i32, priority: i32) -> io::Result<()> {
    set(tid, libc::SCHED_FIFO, priority)
}

/// Shares the CPU as tasks usually do, with the niceness that it had.
pub fn set_usual(tid: i32) -> io::Result<()> {
    set(tid, libc::SCHED_OTHER, 0)
}

/// Whether the task is one of those that take turns.
pub fn is_fifo(tid: i32) -> io::Result<bool> {
    // SAFETY: no memory is passed.
    let policy = unsafe { libc::sched_getscheduler(tid) };
    if policy < 0 { Err(io::Error::last_os_error()) } else { Ok(policy == libc::SCHED_FIFO) }
}
