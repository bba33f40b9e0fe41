//! How many outputs of a call there are to capture, told without a look at memory.

use migrate_common::maps::{MAX_PIECES, PIECE_BYTES};
use migrate_common::record::Class;
use migrate_common::syscalls::{KRow, MAX_OUTS, krow_flags, len_kind, when_kind};

use crate::emit::Event;
use crate::kernel::forget;
use crate::sys_exit::arg;

/// Bytes of one extent at the most: what [`MAX_PIECES`] pieces carry.
pub(super) const MAX_BYTES: u64 = MAX_PIECES as u64 * PIECE_BYTES as u64;
/// The longest output that is written straight into the ring.
pub const DIRECT_BYTES: u64 = 8 * 1024;
const PAGE_BYTES: u64 = 4096;

/// Values of [`Outputs::shape`].
pub mod shape {
    /// Nothing that is logged.
    pub const NONE: u32 = 0;
    /// Nothing, but the file's offset is told.
    pub const OFFSET: u32 = 1;
    /// `len` bytes at `addr`, 1 to [`DIRECT_BYTES`](super::DIRECT_BYTES).
    pub const ONE: u32 = 2;
    /// Anything else.
    pub const MANY: u32 = 3;
}

/// What a call wrote.
#[repr(C)]
pub struct Outputs {
    /// A [`shape`].
    pub shape: u32,
    /// Extents that were found; 2 stands for more than one.
    extents: u32,
    pub addr: u64,
    pub len: u64,
    /// Bytes that are known without a look at memory.
    pub bytes: u64,
}

impl Outputs {
    /// Sets it to what the row says of the call.
    #[inline(always)]
    pub fn find(&mut self, row: Option<&KRow>, event: &Event) {
        self.shape = shape::NONE;
        self.bytes = 0;
        let Some(row) = row else { return };
        let own = forget(&event.class) == Class::OwnFile as u8;
        if own && event.ret > 0 && row.flags & krow_flags::OFFSET != 0 {
            self.shape = shape::OFFSET;
            return;
        }
        if row.outs_len == 0
            || (own && row.flags & krow_flags::NOT_OF_OWN_FILES != 0)
            || (event.ret < 0 && row.flags & krow_flags::FAILED == 0)
        {
            return;
        }
        self.extents = 0;
        // Written out: a loop would cost the verifier more than four copies.
        self.add(row, 0, event);
        if row.outs_len > 1 {
            self.add(row, 1, event);
            self.add(row, 2, event);
            self.add(row, 3, event);
        }
        const { assert!(MAX_OUTS == 4) };
        self.shape = match forget(&self.extents) {
            0 => shape::NONE,
            1 if forget(&self.len) <= DIRECT_BYTES => shape::ONE,
            _ => shape::MANY,
        };
    }

    #[inline(always)]
    fn add(&mut self, row: &KRow, at: usize, event: &Event) {
        if at >= row.outs_len as usize {
            return;
        }
        let out = row.outs[at];
        let addr = arg(event, out.arg);
        if !when_kind::is_written(out.when, event.ret) || addr == 0 {
            return;
        }
        let ret = if event.ret > 0 { event.ret as u64 } else { 0 };
        let Some(len) = simple(out.len, out.factor, ret, arg(event, out.len_arg)) else {
            if out.len == len_kind::IOV || out.len == len_kind::MSGHDR {
                self.bytes += ret;
            }
            self.extents = 2;
            return;
        };
        if len != 0 {
            self.addr = addr;
            self.len = len;
            self.bytes = forget(&self.bytes) + len;
            self.extents = forget(&self.extents) + 1;
        }
    }
}

/// The length of an output that is one extent, from the call's result and the argument that the row names for it.
#[inline(always)]
pub(super) fn simple(kind: u8, factor: u32, ret: u64, arg: u64) -> Option<u64> {
    Some(match kind {
        len_kind::CONST => u64::from(factor),
        len_kind::RET => ret.wrapping_mul(u64::from(factor)),
        len_kind::RET_PLUS => ret.wrapping_add(u64::from(factor)),
        len_kind::RET_CAP => {
            if ret < arg {
                ret
            } else {
                arg
            }
        }
        len_kind::ARG if arg > MAX_BYTES => arg,
        len_kind::ARG => arg * u64::from(factor),
        len_kind::BITS => (arg & 0xffff_ffff).div_ceil(64) * 8,
        len_kind::PAGES => arg.wrapping_add(PAGE_BYTES - 1) / PAGE_BYTES,
        _ => return None,
    })
}
