//! What a call wrote to user memory, as segments.
//!
//! A call mostly has one output, whose length is known: it is read from user memory right into the ring ([`send_one`]). For
//! the others [`walk`] finds one extent of user memory after the other; each [`step`] copies one, or [`STEP_BYTES`] of it, into
//! the entry under construction, and sends that when it is full. `bpf_loop` runs the steps.

mod outputs;
mod walk;

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use migrate_common::maps::{Counters, MAX_PIECES, PIECE_BYTES};
use migrate_common::record::{HEADER_BYTES, Header, Kind, SEGMENT_BYTES, flags};
use migrate_common::syscalls::KRow;

use crate::emit::{self, Entry, Event, Numbered, STEP_BYTES};
use crate::kernel::forget;
use crate::maps::{self, WORK};
use crate::sys_exit::Call;
use crate::{batch, file};
use outputs::DIRECT_BYTES;
pub use outputs::{Outputs, shape};
pub use walk::Work;
use walk::{fault, next_extent, stage};

/// Steps of one call. A piece takes at most two steps, and an iovec two: enough for [`MAX_PIECES`] and 1024 messages of a few
/// iovecs each. The kernel's own bound on `bpf_loop` is 8 Mi.
const MAX_STEPS: u32 = 4 * MAX_PIECES;
/// A segment that would carry less than this goes into the next piece.
const MIN_ROOM: u64 = SEGMENT_BYTES as u64 + 8;

/// Sends a record with where the file of the call, which its first argument names, now stands.
#[inline(always)]
pub fn send_offset(numbered: Numbered, event: &Event) {
    const LEN: usize = HEADER_BYTES + SEGMENT_BYTES + size_of::<u64>();
    let entry = emit::reserve(LEN as u64);
    if entry.is_null() {
        return numbered.account(false, event.flags);
    }
    // SAFETY: the ring gave `LEN` bytes, 8-byte aligned: a header, a segment's header and 8 bytes.
    unsafe {
        entry.cast::<Header>().write(numbered.header(event, LEN));
        let segment = entry.add(HEADER_BYTES).cast::<u64>();
        segment.write(0);
        segment.add(1).write(size_of::<u64>() as u64);
        segment.add(2).write(file::offset(numbered.task, event.args[0] as i32));
    }
    numbered.submit(entry, LEN, LEN, event.flags);
}

/// Sends a record with one output.
#[inline(always)]
pub fn send_one(numbered: Numbered, call: &mut Call) {
    let addr = call.outputs.addr;
    let len = forget(&call.outputs.len);
    let event = &mut call.event;
    // It was looked at before, but the verifier has forgotten.
    if len == 0 || len > DIRECT_BYTES {
        return numbered.account(false, event.flags);
    }
    if numbered.waits && len <= batch::OUTPUT_BYTES as u64 {
        return batch_one(numbered, event, addr, len);
    }
    // The verifier wants to know the size of what is reserved on each path: powers of two. What the record does not need of it
    // is skipped by the reader and never touched.
    match len {
        ..=8 => send_within::<8>(numbered, event, addr, len),
        ..=16 => send_within::<16>(numbered, event, addr, len),
        ..=32 => send_within::<32>(numbered, event, addr, len),
        ..=64 => send_within::<64>(numbered, event, addr, len),
        ..=128 => send_within::<128>(numbered, event, addr, len),
        ..=256 => send_within::<256>(numbered, event, addr, len),
        ..=512 => send_within::<512>(numbered, event, addr, len),
        ..=1024 => send_within::<1024>(numbered, event, addr, len),
        ..=2048 => send_within::<2048>(numbered, event, addr, len),
        ..=4096 => send_within::<4096>(numbered, event, addr, len),
        _ => send_within::<{ DIRECT_BYTES as usize }>(numbered, event, addr, len),
    }
}

/// As [`send_one`], if the record may wait and `len` is at most [`batch::OUTPUT_BYTES`].
#[inline(always)]
fn batch_one(numbered: Numbered, event: &mut Event, addr: u64, len: u64) {
    let Some(entry) = batch::begin(numbered.slot) else { return numbered.account(false, event.flags) };
    // SAFETY: there is room for a record with as many bytes of output, 8-byte aligned.
    let bytes = unsafe { write_one::<{ batch::OUTPUT_BYTES }>(entry, &numbered, event, addr, len) };
    numbered.end_batched(bytes, event.flags);
}

/// As [`send_one`], if `len` is at most `ROOM`.
#[inline(always)]
fn send_within<const ROOM: usize>(numbered: Numbered, event: &mut Event, addr: u64, len: u64) {
    let room = HEADER_BYTES + SEGMENT_BYTES + ROOM;
    let entry = emit::reserve(room as u64);
    if entry.is_null() {
        return numbered.account(false, event.flags);
    }
    // SAFETY: the ring gave `room` bytes, 8-byte aligned.
    let bytes = unsafe { write_one::<ROOM>(entry, &numbered, event, addr, len) };
    numbered.submit(entry, room, bytes, event.flags);
}

/// Writes a record with one output of 1 to `ROOM` bytes, a power of two, at `entry`. Its length.
///
/// # Safety
/// There is room for it, 8-byte aligned.
#[inline(always)]
unsafe fn write_one<const ROOM: usize>(entry: *mut u8, numbered: &Numbered, event: &mut Event, addr: u64, len: u64) -> usize {
    // SAFETY: as the caller promises.
    unsafe {
        let written = write_output::<ROOM>(entry, addr, len);
        // After a call that failed that is no wonder: the kernel did not reach it either.
        if written.is_none() && event.ret >= 0 {
            event.flags |= flags::FAULT;
        }
        let bytes = written.unwrap_or(HEADER_BYTES);
        entry.cast::<Header>().write(numbered.header(event, bytes));
        bytes
    }
}

/// Writes the output of such a record, behind its header's place. The record's length; none if the task's memory cannot be read.
///
/// # Safety
/// As of [`write_one`].
#[inline(always)]
pub unsafe fn write_output<const ROOM: usize>(entry: *mut u8, addr: u64, len: u64) -> Option<usize> {
    // Where the last word of the data starts: after the mask at most ROOM - 8 for the verifier, too.
    let last = (len - 1) & (ROOM as u64 - 8);
    // SAFETY: as the caller promises, and the verifier checks that all writes are within. The helper checks the task's address.
    unsafe {
        let segment = entry.add(HEADER_BYTES);
        let data = segment.add(SEGMENT_BYTES);
        segment.cast::<u64>().write(addr);
        segment.add(8).cast::<u64>().write(len);
        // Padding first: the last word, before the data covers most of it.
        data.add(last as usize).cast::<u64>().write(0);
        let failed = bpf_probe_read_user(data.cast(), len as u32, addr as *const c_void) != 0;
        (!failed).then_some(HEADER_BYTES + SEGMENT_BYTES + last as usize + 8)
    }
}

/// Sends a record with what the call wrote by `row`, whatever that is.
#[inline(always)]
pub fn capture(numbered: Numbered, event: &Event, row: &KRow) {
    let (Some(work), Some(entry)) = (maps::own(&WORK, 0), emit::entry()) else { return };
    entry.head = numbered.header(event, HEADER_BYTES);
    work.begin(numbered.slot, row, event);
    // SAFETY: `step` takes and returns what bpf_loop calls it with; it uses no context.
    unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, core::ptr::null_mut(), 0) };
    // What the steps wrote to is looked up again: no reference is held across them.
    let (Some(work), Some(entry), Some(counters)) = (maps::own(&WORK, 0), emit::entry(), emit::counters(work.slot)) else {
        return;
    };
    if work.stage != stage::DONE {
        entry.head.flags |= flags::TOO_LARGE;
    }
    if work.lost == 0 && work.entries != 0 {
        entry.head.flags |= flags::LAST;
    }
    let left = work.lost == 0 && send(work, entry, counters);
    emit::account(counters, left, work.flags | entry.head.flags);
}

/// One step; 1 ends the loop.
extern "C" fn step(_index: u32, _context: *mut c_void) -> i64 {
    let Some(work) = maps::own(&WORK, 0) else { return 1 };
    let Some(entry) = emit::entry() else { return 1 };
    let Some(counters) = emit::counters(work.slot) else { return 1 };
    if work.left == 0 && !next_extent(work, entry) {
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
            return fault(work, entry);
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
    emit::output((&raw const *entry).cast(), len as usize, counters)
}
