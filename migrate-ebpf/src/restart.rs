//! Calls that a signal or a freeze interrupted in a wait, and that `restart_syscall` continues.

use migrate_common::maps::Restart;

use crate::kernel::{offset, read};
use crate::maps::RESTARTS;
use crate::task;

/// arch/x86/entry/syscalls/syscall_64.tbl
const POLL: i32 = 7;
const NANOSLEEP: i32 = 35;
const FUTEX: i32 = 202;
const CLOCK_NANOSLEEP: i32 = 230;
const SECOND_NS: u64 = 1_000_000_000;

/// The number of the call that a task's `restart_syscall` continues.
#[inline(always)]
pub fn continued(host_tid: u32) -> Option<i32> {
    let restart = RESTARTS.get_ptr(host_tid)?;
    // SAFETY: only this task writes the value, and it is here.
    Some(unsafe { (*restart).nr })
}

/// Keeps in mind that the current task will go on with the call `nr`. False if there is no room to.
#[inline(always)]
pub fn keep(host_tid: u32, nr: i32) -> bool {
    RESTARTS.insert(host_tid, Restart { nr, reserved: 0, until_ns: until_ns(nr) }, 0).is_ok()
}

/// When the wait is over, which the kernel keeps for the restart; 0: never.
#[inline(always)]
fn until_ns(nr: i32) -> u64 {
    let task = task::current();
    match nr {
        NANOSLEEP | CLOCK_NANOSLEEP => read(task, offset!(restart_nanosleep_expires)),
        FUTEX => read(task, offset!(restart_futex_time)),
        POLL if read::<u32>(task, offset!(restart_poll_has_timeout)) != 0 => {
            let seconds: u64 = read(task, offset!(restart_poll_seconds));
            seconds.wrapping_mul(SECOND_NS).wrapping_add(read(task, offset!(restart_poll_nanos)))
        }
        _ => 0,
    }
}
