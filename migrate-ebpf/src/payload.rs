//! What a call wrote to user memory, as segments.
//!
//! The outputs of a call are walked by a state machine, one [`step`] an extent of user memory or [`STEP_BYTES`] of one. The
//! state lives in a map value ([`Work`]), so that every step looks the same to the verifier: it checks one, not the product of
//! outputs, iovecs and pieces. `bpf_loop` runs the steps.
//!
//! ```text
//!            +--> simple ---------------------------------------------+
//!   Outs ----+--> Iov <------------------------------+--- end --------+--> Outs
//!            +--> Message -> Name -> Control -> Iov -+--- end of one -----> Message
//! ```

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use bytemuck::{Pod, Zeroable};
use migrate_common::maps::{Counters, MAX_PIECES, PIECE_BYTES};
use migrate_common::record::{HEADER_BYTES, Kind, SEGMENT_BYTES, flags};
use migrate_common::syscalls::{KOut, KRow, MAX_OUTS, len_kind, when_kind};

use crate::container;
use crate::emit::{self, Entry, STEP_BYTES, Wake};
use crate::kernel::read_user;
use crate::maps::{self, WORK};

/// Steps of one call. A piece takes at most two steps, and an iovec two: enough for [`MAX_PIECES`] and 1024 messages of a few
/// iovecs each. The kernel's own bound on `bpf_loop` is 8 Mi.
const MAX_STEPS: u32 = 4 * MAX_PIECES;
/// Bytes of one call: what [`MAX_PIECES`] pieces carry.
const MAX_BYTES: u64 = MAX_PIECES as u64 * PIECE_BYTES as u64;
/// Sizes of the structures of x86-64 that the programs read: struct user_msghdr, struct mmsghdr, struct iovec.
const MSGHDR_BYTES: u64 = 56;
const MMSGHDR_BYTES: u64 = 64;
const IOVEC_BYTES: u64 = 16;
const PAGE_BYTES: u64 = 4096;
/// A segment that would carry less than this goes into the next piece.
const MIN_ROOM: u64 = SEGMENT_BYTES as u64 + 8;

/// Values of [`Work::stage`].
mod stage {
    pub const OUTS: u32 = 0;
    pub const IOV: u32 = 1;
    pub const MESSAGE: u32 = 2;
    pub const NAME: u32 = 3;
    pub const CONTROL: u32 = 4;
    pub const DONE: u32 = 5;
}

/// Where the walk is.
#[repr(C)]
pub struct Work {
    /// The call: its row, arguments and result. `args` has 8 places so that a mask bounds the index.
    row: KRow,
    ret: i64,
    args: [u64; 8],
    slot: u32,
    /// A [`stage`] and, in it, what is left to do.
    stage: u32,
    out: u32,
    /// Bytes per message: 56 or 64; messages left; where the next is.
    message_bytes: u32,
    messages: u64,
    message: u64,
    /// The message whose parts come next.
    current: Message,
    /// Next iovec, how many are left, and how many of the result's bytes.
    iov: u64,
    iovs: u64,
    scattered: u64,
    /// The extent that is being copied.
    addr: u64,
    left: u64,
    /// Bytes of payload in the entry under construction, and how many entries went out before it.
    filled: u64,
    entries: u32,
    /// Set when the ring was full: nothing more of this record is sent.
    lost: u32,
}

/// struct user_msghdr.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Message {
    name: u64,
    name_len: u32,
    pad0: u32,
    iov: u64,
    iovs: u64,
    control: u64,
    control_len: u64,
    flags: u32,
    pad1: u32,
}
const _: () = assert!(size_of::<Message>() == MSGHDR_BYTES as usize);

/// struct mmsghdr.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct MessageMany {
    message: Message,
    len: u32,
    pad: u32,
}
const _: () = assert!(size_of::<MessageMany>() == MMSGHDR_BYTES as usize);

#[inline(always)]
fn one(message: Message) -> MessageMany {
    MessageMany { message, len: 0, pad: 0 }
}

/// Sends the record under construction in [`emit::entry`], with what the call wrote by `row`.
#[inline(always)]
pub fn capture(slot: u32, row: &KRow) {
    if begin(slot, row).is_none() {
        return;
    }
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

/// Sets the walk to its start.
#[inline(always)]
fn begin(slot: u32, row: &KRow) -> Option<()> {
    let head = &emit::entry()?.head;
    let work = maps::own(&WORK, 0)?;
    work.row = *row;
    work.ret = head.ret;
    let [a, b, c, d, e, f] = head.args;
    work.args = [a, b, c, d, e, f, 0, 0];
    work.slot = slot;
    work.stage = stage::OUTS;
    work.out = 0;
    work.messages = 0;
    work.left = 0;
    work.filled = 0;
    work.entries = 0;
    work.lost = 0;
    Some(())
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

/// User memory was not there. After a call that failed that is no wonder: the kernel did not reach it either.
#[inline(always)]
fn fault(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> i64 {
    work.left = 0;
    if work.ret < 0 {
        return 0;
    }
    entry.head.flags |= flags::FAULT;
    counters.faults += 1;
    work.stage = stage::DONE;
    1
}

#[inline(always)]
fn too_large(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> bool {
    entry.head.flags |= flags::TOO_LARGE;
    counters.too_large += 1;
    work.left = 0;
    work.stage = stage::DONE;
    false
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

/// Moves on: to the next extent, or to a state that has one. False: that was all.
#[inline(always)]
fn next_extent(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> bool {
    match work.stage {
        stage::OUTS => return next_out(work, entry, counters),
        stage::MESSAGE => return next_message(work, entry, counters),
        stage::NAME => {
            work.addr = work.current.name;
            work.left = if work.addr == 0 { 0 } else { u64::from(work.current.name_len) };
            work.stage = stage::CONTROL;
        }
        stage::CONTROL => {
            work.addr = work.current.control;
            work.left = if work.addr == 0 { 0 } else { work.current.control_len };
            work.stage = stage::IOV;
        }
        stage::IOV => return next_iov(work, entry, counters),
        _ => return false,
    }
    if work.left > MAX_BYTES { too_large(work, entry, counters) } else { true }
}

/// The next output of the row.
#[inline(always)]
fn next_out(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> bool {
    if work.out >= u32::from(work.row.outs_len) || work.out >= MAX_OUTS as u32 {
        work.stage = stage::DONE;
        return false;
    }
    let out: KOut = work.row.outs[(work.out as usize) & (MAX_OUTS - 1)];
    work.out += 1;
    let written = match out.when {
        when_kind::ALWAYS => true,
        when_kind::POSITIVE => work.ret > 0,
        _ => work.ret >= 0,
    };
    let addr = work.args[(out.arg & 7) as usize];
    if !written || addr == 0 {
        return true;
    }
    let ret = if work.ret > 0 { work.ret as u64 } else { 0 };
    let arg = work.args[(out.len_arg & 7) as usize];
    work.addr = addr;
    let left = match out.len {
        len_kind::CONST => u64::from(out.factor),
        len_kind::RET => ret.wrapping_mul(u64::from(out.factor)),
        len_kind::RET_CAP => {
            if ret < arg {
                ret
            } else {
                arg
            }
        }
        len_kind::ARG if arg > MAX_BYTES => arg,
        len_kind::ARG => arg * u64::from(out.factor),
        len_kind::DEREF => {
            if arg == 0 {
                return true;
            }
            let Some(len) = read_user::<u32>(arg) else {
                fault(work, entry, counters);
                return work.stage != stage::DONE;
            };
            u64::from(len)
        }
        len_kind::BITS => (arg & 0xffff_ffff).div_ceil(64) * 8,
        len_kind::PAGES => arg.wrapping_add(PAGE_BYTES - 1) / PAGE_BYTES,
        len_kind::IOV => {
            work.iov = addr;
            work.iovs = arg;
            work.scattered = ret;
            work.stage = stage::IOV;
            0
        }
        len_kind::MSGHDR => {
            work.message = addr;
            work.message_bytes = MSGHDR_BYTES as u32;
            work.messages = 1;
            work.stage = stage::MESSAGE;
            0
        }
        len_kind::MMSGHDR => {
            work.message = addr;
            work.message_bytes = MMSGHDR_BYTES as u32;
            work.messages = ret;
            work.stage = stage::MESSAGE;
            0
        }
        _ => 0,
    };
    work.left = left;
    if left > MAX_BYTES { too_large(work, entry, counters) } else { true }
}

/// The next message of a `recvmmsg`, or the one of a `recvmsg`: first its header, which the kernel wrote to.
#[inline(always)]
fn next_message(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> bool {
    if work.messages == 0 {
        work.stage = stage::OUTS;
        return true;
    }
    work.messages -= 1;
    let many = work.message_bytes == MMSGHDR_BYTES as u32;
    // Two reads of constant sizes: a size from memory would need a bound of its own.
    let message = if many { read_user::<MessageMany>(work.message) } else { read_user::<Message>(work.message).map(one) };
    let Some(message) = message else {
        fault(work, entry, counters);
        return work.stage != stage::DONE;
    };
    work.current = message.message;
    work.iov = work.current.iov;
    work.iovs = work.current.iovs;
    work.scattered = if many { u64::from(message.len) } else { work.ret as u64 };
    work.addr = work.message;
    work.left = u64::from(work.message_bytes);
    work.message = work.message.wrapping_add(u64::from(work.message_bytes));
    work.stage = stage::NAME;
    true
}

/// The next iovec that the result's bytes reach.
#[inline(always)]
fn next_iov(work: &mut Work, entry: &mut Entry, counters: &mut Counters) -> bool {
    if work.iovs == 0 || work.scattered == 0 {
        work.stage = stage::MESSAGE;
        return true;
    }
    let Some([base, len]) = read_user::<[u64; 2]>(work.iov) else {
        fault(work, entry, counters);
        return work.stage != stage::DONE;
    };
    work.iov = work.iov.wrapping_add(IOVEC_BYTES);
    work.iovs -= 1;
    let n = if len < work.scattered { len } else { work.scattered };
    work.scattered -= n;
    work.addr = base;
    work.left = n;
    if n > MAX_BYTES { too_large(work, entry, counters) } else { true }
}
