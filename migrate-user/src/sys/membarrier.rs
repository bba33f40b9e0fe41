//! Waiting until no eBPF program runs that ran when we asked.

use std::io;

/// include/uapi/linux/membarrier.h
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

/// Returns when every tracing program that was running anywhere at the call has ended.
///
/// `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu()` (kernel/sched/membarrier.c), which waits for all sections with preemption
/// disabled; non-sleepable tracing programs run in one. Takes some milliseconds.
///
/// # Errors
/// `EINVAL` on a kernel with `nohz_full` CPUs, where the kernel does not offer this.
pub fn wait_for_running_programs() -> io::Result<()> {
    // SAFETY: membarrier takes no pointers.
    let ret = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
