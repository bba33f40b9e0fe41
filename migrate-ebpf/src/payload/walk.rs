//! From one extent of a call's output to the next.
//!
//! The outputs are walked by a state machine whose state lives in a map value ([`Work`]), so that every step looks the same to
//! the verifier: it checks one, not the product of outputs, iovecs and pieces.
//!
//! ```text
//!            +--> simple ---------------------------------------------+
//!   Outs ----+--> Iov <------------------------------+--- end --------+--> Outs
//!            +--> Message -> Name -> Control -> Iov -+--- end of one -----> Message
//! ```

use bytemuck::{Pod, Zeroable};
use migrate_common::record::flags;
use migrate_common::syscalls::{KOut, KRow, MAX_OUTS, len_kind, when_kind};

use super::outputs::{MAX_BYTES, simple};
use crate::emit::{Entry, Event};
use crate::kernel::read_user;

/// Sizes of the structures of x86-64 that the programs read: struct user_msghdr, struct mmsghdr, struct iovec.
const MSGHDR_BYTES: u64 = 56;
const MMSGHDR_BYTES: u64 = 64;
const IOVEC_BYTES: u64 = 16;

/// Values of [`Work::stage`].
pub(super) mod stage {
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
    pub(super) slot: u32,
    /// A [`stage`] and, in it, what is left to do.
    pub(super) stage: u32,
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
    pub(super) addr: u64,
    pub(super) left: u64,
    /// Bytes of payload in the entry under construction, and how many entries went out before it.
    pub(super) filled: u64,
    pub(super) entries: u32,
    /// Set when the ring was full: nothing more of this record is sent.
    pub(super) lost: u16,
    /// Flags of the entries that have been sent.
    pub(super) flags: u16,
}

impl Work {
    /// Sets the walk to its start: the call that `event` tells, by its row.
    #[inline(always)]
    pub(super) fn begin(&mut self, slot: u32, row: &KRow, event: &Event) {
        self.row = *row;
        self.ret = event.ret;
        self.args = event.args;
        self.slot = slot;
        self.stage = stage::OUTS;
        self.out = 0;
        self.messages = 0;
        self.left = 0;
        self.filled = 0;
        self.entries = 0;
        self.lost = 0;
        self.flags = event.flags;
    }
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

/// Moves on: to the next extent, or to a state that has one. False: that was all.
#[inline(always)]
pub(super) fn next_extent(work: &mut Work, entry: &mut Entry) -> bool {
    match work.stage {
        stage::OUTS => return next_out(work, entry),
        stage::MESSAGE => return next_message(work, entry),
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
        stage::IOV => return next_iov(work, entry),
        _ => return false,
    }
    if work.left > MAX_BYTES { too_large(work, entry) } else { true }
}

/// The next output of the row.
#[inline(always)]
fn next_out(work: &mut Work, entry: &mut Entry) -> bool {
    if work.out >= u32::from(work.row.outs_len) || work.out >= MAX_OUTS as u32 {
        work.stage = stage::DONE;
        return false;
    }
    let out: KOut = work.row.outs[(work.out as usize) & (MAX_OUTS - 1)];
    work.out += 1;
    let addr = work.args[(out.arg & 7) as usize];
    if !when_kind::is_written(out.when, work.ret) || addr == 0 {
        return true;
    }
    let ret = if work.ret > 0 { work.ret as u64 } else { 0 };
    let arg = work.args[(out.len_arg & 7) as usize];
    work.addr = addr;
    if let Some(len) = simple(out.len, out.factor, ret, arg) {
        work.left = len;
        return if len > MAX_BYTES { too_large(work, entry) } else { true };
    }
    let left = match out.len {
        len_kind::DEREF => {
            if arg == 0 {
                return true;
            }
            let Some(len) = read_user::<u32>(arg) else {
                fault(work, entry);
                return work.stage != stage::DONE;
            };
            u64::from(len)
        }
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
    if left > MAX_BYTES { too_large(work, entry) } else { true }
}

/// The next message of a `recvmmsg`, or the one of a `recvmsg`: first its header, which the kernel wrote to.
#[inline(always)]
fn next_message(work: &mut Work, entry: &mut Entry) -> bool {
    if work.messages == 0 {
        work.stage = stage::OUTS;
        return true;
    }
    work.messages -= 1;
    let many = work.message_bytes == MMSGHDR_BYTES as u32;
    // Two reads of constant sizes: a size from memory would need a bound of its own.
    let message = if many { read_user::<MessageMany>(work.message) } else { read_user::<Message>(work.message).map(one) };
    let Some(message) = message else {
        fault(work, entry);
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
fn next_iov(work: &mut Work, entry: &mut Entry) -> bool {
    if work.iovs == 0 || work.scattered == 0 {
        work.stage = stage::MESSAGE;
        return true;
    }
    let Some([base, len]) = read_user::<[u64; 2]>(work.iov) else {
        fault(work, entry);
        return work.stage != stage::DONE;
    };
    work.iov = work.iov.wrapping_add(IOVEC_BYTES);
    work.iovs -= 1;
    let n = if len < work.scattered { len } else { work.scattered };
    work.scattered -= n;
    work.addr = base;
    work.left = n;
    if n > MAX_BYTES { too_large(work, entry) } else { true }
}

/// User memory was not there. After a call that failed that is no wonder: the kernel did not reach it either.
#[inline(always)]
pub(super) fn fault(work: &mut Work, entry: &mut Entry) -> i64 {
    work.left = 0;
    if work.ret < 0 {
        return 0;
    }
    entry.head.flags |= flags::FAULT;
    work.stage = stage::DONE;
    1
}

#[inline(always)]
fn too_large(work: &mut Work, entry: &mut Entry) -> bool {
    entry.head.flags |= flags::TOO_LARGE;
    work.left = 0;
    work.stage = stage::DONE;
    false
}
