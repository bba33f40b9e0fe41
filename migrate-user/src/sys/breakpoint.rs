//! A breakpoint of the CPU in another task, without ptrace's debug registers: it goes when this program does, so that a task that is
//! traced for its own good never meets one that nobody answers.

use super::ptrace::Pid;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// `si_code` of the SIGTRAP that the task gets.
pub const TRAP_PERF: i32 = 6;

/// Bytes of struct perf_event_attr, version 7: the first with `sig_data`.
const ATTR_BYTES: usize = 128;
const PERF_TYPE_BREAKPOINT: u32 = 5;
const PERF_FLAG_FD_CLOEXEC: u64 = 8;
/// linux/hw_breakpoint.h
const HW_BREAKPOINT_X: u32 = 4;
/// Bits of perf_event_attr: not in the kernel, not in a hypervisor, gone with the next exec, and a SIGTRAP to the task itself.
const FLAGS: u64 = 1 << 5 | 1 << 6 | 1 << 36 | 1 << 37;

/// Stops a traced task before each execution of an instruction, by a SIGTRAP with [`TRAP_PERF`] that its tracer sees. When the task is
/// resumed it passes the instruction. Ends when it is dropped.
#[derive(Debug)]
pub struct Breakpoint {
    addr: u64,
    _event: OwnedFd,
}

impl Breakpoint {
    /// Sets one for a task, which must not block SIGTRAP.
    ///
    /// # Errors
    /// `ENOSPC` if the CPU's breakpoints are taken, `EINVAL` before Linux 5.13, `ESRCH` without the task.
    pub fn set(pid: Pid, addr: u64) -> io::Result<Self> {
        let mut attr = [0_u8; ATTR_BYTES];
        let mut put = |at: usize, bytes: &[u8]| attr[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &PERF_TYPE_BREAKPOINT.to_ne_bytes());
        put(4, &(ATTR_BYTES as u32).to_ne_bytes());
        // Each hit counts.
        put(16, &1_u64.to_ne_bytes());
        put(40, &FLAGS.to_ne_bytes());
        put(52, &HW_BREAKPOINT_X.to_ne_bytes());
        put(56, &addr.to_ne_bytes());
        put(64, &(size_of::<u64>() as u64).to_ne_bytes());
        // SAFETY: `attr` is a live attribute of the size that it states.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), pid, -1, -1, PERF_FLAG_FD_CLOEXEC) };
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(Self { addr, _event: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The instruction's address.
    #[must_use]
    pub fn addr(&self) -> u64 {
        self.addr
    }
}
