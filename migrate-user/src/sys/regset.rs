//! What ptrace(2) tells of a stopped task beside its general registers.
//!
//! To be called by the thread that traces the task.

use super::ptrace::Pid;
use std::io;
use std::ops::Range;

/// The extended state's regset: elf.h.
const NT_X86_XSTATE: usize = 0x202;
/// include/uapi/linux/ptrace.h
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
/// More than any processor's extended state has; AMX takes 11 KiB.
const MAX_BYTES: usize = 64 << 10;

/// Floating point, vector and further registers, as XSAVE lays them out.
///
/// # Errors
/// `ESRCH` if the task is gone or not stopped.
pub fn extended(pid: Pid) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; MAX_BYTES];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes to `bytes`, and the length to `part`; both live until the call returns.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, pid, NT_X86_XSTATE, &raw mut part) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(part.iov_len);
    Ok(bytes)
}

/// Sets them.
///
/// # Errors
/// `EINVAL` for bytes that are no state of this processor's, `ESRCH` as in [`extended`].
pub fn set_extended(pid: Pid, bytes: &[u8]) -> io::Result<()> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel only reads `bytes` and `part`.
    let result = unsafe { libc::ptrace(libc::PTRACE_SETREGSET, pid, NT_X86_XSTATE, &raw const part) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The memory in which the kernel keeps a task's CPU number, if it has asked for that: rseq(2).
#[must_use]
pub fn rseq_area(pid: Pid) -> Option<Range<u64>> {
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        pointer: u64,
        bytes: u32,
        signature: u32,
        flags: u32,
        zero: u32,
    }
    let mut found = Configuration::default();
    // SAFETY: the kernel writes at most the given size to `found`.
    let result = unsafe { libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, size_of::<Configuration>(), &raw mut found) };
    (result >= 0 && found.pointer != 0).then(|| found.pointer..found.pointer + u64::from(found.bytes))
}
