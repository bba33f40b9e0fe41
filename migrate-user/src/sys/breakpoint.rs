//! A breakpoint of the CPU in another task, without ptrace's debug registers: it goes when this program does, so that a task that is
//! traced for its own good never meets one that nobody answers.
//!
//! What stopped a task stands in the debug status register, and some virtual machines lose it, about once in ten thousand times: the kernel then takes
//! the trap for one that the program has made by itself ([`is_nobody_s`]).

use super::ptrace::{self, Pid, Regs, SIGINFO_BYTES};
use super::signals::siginfo_code;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// `si_code` of the SIGTRAP that the task gets.
pub const TRAP_PERF: i32 = 6;

/// `si_code` of a trap that the kernel takes for an `int1`, or for a step, uapi/asm-generic/siginfo.h.
const TRAP_BRKPT: i32 = 1;
const TRAP_TRACE: i32 = 2;
/// The flag of eflags with which a program steps through itself.
const TRAP_FLAG: u64 = 0x100;
/// `int1`
const ICEBP: u8 = 0xf1;

/// Whether a SIGTRAP, of a task with these registers, is of a breakpoint whose name was lost: the program neither steps nor has it come
/// from an `int1`. It has not passed the instruction: let go on, it meets the breakpoint again if that is still there.
#[must_use]
pub fn is_nobody_s(pid: Pid, info: &[u8; SIGINFO_BYTES], regs: &Regs) -> bool {
    let mut before = [0];
    match siginfo_code(info) {
        TRAP_TRACE => regs.eflags & TRAP_FLAG == 0,
        TRAP_BRKPT => ptrace::read_memory(pid, regs.rip.wrapping_sub(1), &mut before).is_err() || before != [ICEBP],
        _ => false,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    static CODE: [u8; 4] = [0x90, ICEBP, 0x90, 0x90];

    #[test]
    fn traps_that_a_program_makes_are_its_own_and_others_are_nobody_s() {
        // SAFETY: all-zero bytes are valid registers.
        let zeroed: Regs = unsafe { std::mem::zeroed() };
        let regs = |at: usize, eflags| Regs { rip: CODE.as_ptr() as u64 + at as u64, eflags, ..zeroed };
        let nobody_s = |code: i32, regs: Regs| {
            let mut info = [0; SIGINFO_BYTES];
            info[8..12].copy_from_slice(&code.to_ne_bytes());
            is_nobody_s(i32::try_from(std::process::id()).unwrap(), &info, &regs)
        };
        assert!(nobody_s(TRAP_BRKPT, regs(1, 0)) && nobody_s(TRAP_BRKPT, regs(3, 0)));
        assert!(!nobody_s(TRAP_BRKPT, regs(2, 0)));
        assert!(nobody_s(TRAP_TRACE, regs(1, 0x202)) && !nobody_s(TRAP_TRACE, regs(1, 0x302)));
        // By name: a breakpoint of the CPU, of perf, an `int3`.
        for code in [4, TRAP_PERF, 0x80] {
            assert!(!nobody_s(code, regs(1, 0)));
        }
    }
}
