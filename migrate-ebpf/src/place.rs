//! What tells a place in user code from others with the same registers: the stack around its pointer, and what registers point to.
//!
//! ```text
//!   segment: 128 bytes below the stack pointer
//!   segments: 256, 256, 512, 1024 bytes from it up
//!   15 segments: 64 bytes where each general register points to
//! ```

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use migrate_common::record::{PT_REGS_BYTES, SEGMENT_BYTES};

/// Registers in struct pt_regs.
pub const WORDS: usize = PT_REGS_BYTES / 8;
/// rsp in struct pt_regs, in words.
const PT_REGS_SP: usize = 19;
/// General registers before orig_rax in struct pt_regs: each may point to something that tells one turn of a loop from another.
const POINTERS: usize = 15;
/// Bytes where a register points to, from a multiple of as many on.
const WINDOW_BYTES: usize = 64;
/// The red zone, where a function that calls no other keeps its variables.
const STACK_BELOW_BYTES: usize = 128;
/// From the stack pointer up: calls of one function with the same arguments are told by their callers. In four parts, so that not all is
/// lost where the stack ends.
const STACK_ABOVE_BYTES: usize = 2048;

const ABOVE: usize = SEGMENT_BYTES + STACK_BELOW_BYTES;
const WINDOWS: usize = ABOVE + 4 * SEGMENT_BYTES + STACK_ABOVE_BYTES;
/// Bytes of all segments.
pub const PLACE_BYTES: usize = WINDOWS + POINTERS * (SEGMENT_BYTES + WINDOW_BYTES);

/// Writes the segments of the current task, which has these registers.
///
/// # Safety
/// There is room for [`PLACE_BYTES`] at `to`, 8-byte aligned.
#[inline(always)]
pub unsafe fn write(to: *mut u8, words: &[u64; WORDS]) {
    let sp = words[PT_REGS_SP];
    // SAFETY: the parts lie one behind the other in the room that the caller promises.
    unsafe {
        write_user::<STACK_BELOW_BYTES>(to, sp.wrapping_sub(STACK_BELOW_BYTES as u64));
        write_user::<256>(to.add(ABOVE), sp);
        write_user::<256>(to.add(ABOVE + 256 + SEGMENT_BYTES), sp.wrapping_add(256));
        write_user::<512>(to.add(ABOVE + 512 + 2 * SEGMENT_BYTES), sp.wrapping_add(512));
        write_user::<1024>(to.add(ABOVE + 1024 + 3 * SEGMENT_BYTES), sp.wrapping_add(1024));
        let mut n = 0;
        // r15 to rdi, all before orig_rax: as many as there are windows.
        while n < POINTERS {
            let at = WINDOWS + n * (SEGMENT_BYTES + WINDOW_BYTES);
            write_user::<WINDOW_BYTES>(to.add(at), words[n] & !(WINDOW_BYTES as u64 - 1));
            n += 1;
        }
    }
}

/// What lies below the stack pointer is none of what tells the place.
///
/// # Safety
/// [`write`] has written there.
#[inline(always)]
pub unsafe fn forget_below(place: *mut u8) {
    // SAFETY: the caller's promise. A segment at address 0 is not looked at.
    unsafe { place.cast::<u64>().write(0) };
}

/// A segment of `N` bytes of the task's memory at `addr`; of zeros at address 0 if that cannot be read.
///
/// # Safety
/// There is room for a segment's header and `N` bytes at `segment`, 8-byte aligned.
#[inline(always)]
unsafe fn write_user<const N: usize>(segment: *mut u8, addr: u64) {
    // SAFETY: the caller's promise; the helper checks the address, and zeroes the bytes where it cannot read.
    unsafe {
        let failed = bpf_probe_read_user(segment.add(SEGMENT_BYTES).cast(), N as u32, addr as *const _) != 0;
        segment.cast::<u64>().write(if failed { 0 } else { addr });
        segment.add(8).cast::<u64>().write(N as u64);
    }
}
