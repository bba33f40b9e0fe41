//! What a call wrote to user memory, as segments.
//!
//! [`walk`] finds one extent of user memory after the other; each [`step`] copies one, or [`STEP_BYTES`] of it, into the entry
//! under construction, and sends that when it is full. `bpf_loop` runs the steps.

mod walk;

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use migrate_common::maps::{Counters, MAX_PIECES, PIECE_BYTES};
use migrate_common::record::{HEADER_BYTES, Kind, SEGMENT_BYTES, flags};
use migrate_common::syscalls::KRow;

use crate::container;
use crate::emit::{self, Entry, STEP_BYTES, Wake};
use crate::maps::{self, WORK};
pub use walk::Work;
use walk::{fault, next_extent, stage};

/// Steps of one call. A piece takes at most two steps, and an iovec two: enough for [`MAX_PIECES`] and 1024 messages of a few
/// iovecs each. The kernel's own bound on `bpf_loop` is 8 Mi.
const MAX_STEPS: u32 = 4 * MAX_PIECES;
/// A segment that would carry less than this goes into the next piece.
const MIN_ROOM: u64 = SEGMENT_BYTES as u64 + 8;

/// Sends the record under construction in [`emit::entry`], with what the call wrote by `row`.
#[inline(always)]
pub fn capture(slot: u32, row: &KRow) {
    let (Some(work), Some(entry)) = (maps::own(&WORK, 0), emit::entry()) else { return };
    work.begin(slot, row, &entry.head);
    // SAFETY: `step` takes and returns what bpf_loop calls it with; it uses no context.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, core::ptr::null_mut(), 0) };
    // What the steps wrote to is looked up again: no reference is held across them.
    let (Some(work), Some(entry), Some(counters)) = (maps::own(&WORK, 0), emit::entry(), container::counters(slot)) else {
        return;
    };
    if work.stage != stage::DONE {
        entry.head.flags |= flags::TOO_LARGE;
        counters.too_large += 1;
    }
    if work.lost == 0 {
        if work.entries != 0 {
            entry.head.flags |= flags::LAST;
        }
        send(work, entry, counters);
    }
}

/// One step; 1 ends the loop.
extern "C" fn step(_index: u32, _context: *mut c_void) -> i64 {
    let Some(work) = maps::own(&WORK, 0) else { return 1 };
    let Some(entry) = emit::entry() else { return 1 };
    let Some(counters) = container::counters(work.slot) else { return 1 };
    if work.left == 0 && !next_extent(work, entry, counters) {
        return 1;
    }
    if work.left != 0 { copy(work, entry, counters) } else { 0 }
}

/// Copies the next bytes of the extent into the entry.
#[inline(always)]
fn copy(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> i64 {
    if work.filled > PIECE_BYTES as u64 - MIN_ROOM {
        entry.head.flags |= flags::MORE;
        if !send(work, entry, counters) {
            work.lost = 1;
            work.stage = stage::DONE;
            return 1;
        }
        work.entries += 1;
        work.filled = 0;
        entry.head.kind = Kind::Piece as u8;
        entry.head.nr = work.entries as i32;
        entry.head.flags = 0;
    }
    // `filled` is a multiple of 8 below PIECE_BYTES; the mask tells the verifier.
    let at = work.filled & (PIECE_BYTES as u64 - 8);
    let mut n = work.left;
    if n > PIECE_BYTES as u64 - SEGMENT_BYTES as u64 - at {
        n = PIECE_BYTES as u64 - SEGMENT_BYTES as u64 - at;
    }
    // The bound that the verifier sees: it does not relate `n` to `at`.
    if n > STEP_BYTES as u64 {
        n = STEP_BYTES as u64;
    }
    let padded = (n + 7) & !7;
    // SAFETY: `at` and `n` are bounded above so that all of this lies within `payload`, as emit::STEP_BYTES says, and the
    // verifier checks it; `at` and the payload's start are multiples of 8. The helper checks the task's address.
    unsafe {
        let segment = entry.payload.as_mut_ptr().add(at as usize);
        let data = segment.add(SEGMENT_BYTES);
        segment.cast::<u64>().write(work.addr);
        segment.add(8).cast::<u64>().write(n);
        // Padding first: the last word, before the data covers most of it. The word before `data` is `len | zero`, which
        // stands already, and n is not 0.
        if padded != 0 {
            data.add(padded as usize).sub(8).cast::<u64>().write(0);
        }
        if bpf_probe_read_user(data.cast(), n as u32, work.addr as *const c_void) != 0 {
            return fault(work, entry, counters);
        }
    }
    work.filled = at + SEGMENT_BYTES as u64 + padded;
    work.addr = work.addr.wrapping_add(n);
    work.left -= n;
    0
}

/// Sends the entry with what it holds so far. False: the ring was full.
#[inline(always)]
fn send(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> bool {
    let mut filled = work.filled;
    if filled > PIECE_BYTES as u64 {
        filled = PIECE_BYTES as u64;
    }
    let len = HEADER_BYTES as u64 + filled;
    entry.head.len = len as u32;
    emit::output((&raw const *entry).cast(), len as usize, counters, work.entries == 0, Wake::Batched)
}
