//! A `syscall` instruction in a task's memory, for calls that its tracer makes in its name.

use super::ptrace::Pid;
use super::{ptrace, vdso};
use std::io;

/// Bytes of the instruction.
pub const BYTES: u64 = 2;
const CODE: [u8; BYTES as usize] = [0x0f, 0x05];

/// Where one is: the vDSO has one, hidden or not.
///
/// # Errors
/// `NotFound` in a process without a vDSO; those of reading its memory.
pub fn find(pid: Pid) -> io::Result<u64> {
    let vdso = vdso::of(pid)?;
    let mut code = vec![0; usize::try_from(vdso.end - vdso.start).unwrap_or(0)];
    ptrace::read_memory(pid, vdso.start, &mut code)?;
    let at = code.windows(CODE.len()).position(|bytes| bytes == CODE).ok_or(io::ErrorKind::NotFound)?;
    Ok(vdso.start + at as u64)
}
