//! Numbering records and putting them into the ring.
//!
//! A record's number is taken before anything can go wrong with it, so whatever is lost leaves a hole that userspace sees.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use migrate_common::maps::{Counters, PIECE_BYTES};
use migrate_common::record::{HEADER_BYTES, Header, Kind};

use crate::kernel::wake_bytes;
use crate::maps::{self, ENTRY, RING, SEQUENCE, UNWOKEN};
use crate::{container, task};

/// include/uapi/linux/bpf.h
const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;

/// Bytes that a segment can carry in one step: what is left of [`ENTRY_BYTES`] behind the furthest place a segment starts.
pub const STEP_BYTES: usize = 0x3f80;
/// Bytes of an entry under construction. A per-CPU map's value ends at 32 KiB. [`PIECE_BYTES`] of payload are used; the rest
/// is there because the verifier knows the bounds of a segment's start and of its length, but not that of their sum.
const ENTRY_BYTES: usize = 32 * 1024;
const _: () = assert!(HEADER_BYTES + PIECE_BYTES - 8 + 16 + STEP_BYTES <= ENTRY_BYTES);

/// An entry under construction.
#[repr(C)]
pub struct Entry {
    pub head: Header,
    pub payload: [u8; ENTRY_BYTES - HEADER_BYTES],
}

/// Whether the reader is woken at once: where somebody waits for the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    Now,
    Batched,
}

/// Adds 1 to a number that other CPUs add to, too; what it was before. In assembler, since core has no `fetch_add` for BPF,
/// which lacked it before cpu v3.
#[inline(always)]
fn fetch_increment(number: *mut u64) -> u64 {
    let mut value = 1u64;
    // SAFETY: `number` is of a map's value, 8-byte aligned; the instruction touches nothing else.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({number} + 0), {value})",
            value = inout(reg) value,
            number = in(reg) number,
            options(nostack),
        );
    }
    value
}

/// Fills in the header of a new record of the current task, and numbers it.
#[inline(always)]
pub fn number(head: &mut Header, slot: u32, kind: Kind) -> Option<&'static mut Counters> {
    let counters = container::counters(slot)?;
    head.len = HEADER_BYTES as u32;
    head.kind = kind as u8;
    head.class = 0;
    head.flags = 0;
    head.slot = slot;
    head.tid = task::tid(task::current()).nr;
    head.nr = 0;
    head.host_tid = bpf_get_current_pid_tgid() as u32;
    head.ret = 0;
    head.args = [0; 6];
    // SAFETY: a helper without arguments.
    head.time_ns = unsafe { bpf_ktime_get_ns() };
    head.seq = fetch_increment(SEQUENCE.get_ptr_mut(slot)?);
    Some(counters)
}

/// Puts the first `len` bytes at `entry` into the ring, `first` if it is a record's first entry. False: the ring was full.
///
/// `len` is bounded by the caller so that the verifier sees it.
#[inline(always)]
pub fn output(entry: *const u8, len: usize, counters: &mut Counters, first: bool, wake: Wake) -> bool {
    let flags = wake_flags(len, wake);
    let ring = (&raw const RING).cast_mut().cast();
    // SAFETY: the verifier checks that the map is a ring and that `len` bytes can be read at `entry`.
    let ret = unsafe { bpf_ringbuf_output(ring, entry.cast_mut().cast(), len as u64, flags) };
    if ret != 0 {
        counters.ring_full += 1;
        return false;
    }
    counters.emitted += u64::from(first);
    counters.bytes += len as u64;
    true
}

/// The entry under construction on this CPU.
#[inline(always)]
pub fn entry() -> Option<&'static mut Entry> {
    maps::own(&ENTRY, 0)
}

/// Waking the reader costs more than the record: a CPU does it once every so many bytes, the reader's timer does the rest.
#[inline(always)]
fn wake_flags(len: usize, wake: Wake) -> u64 {
    let Some(unwoken) = maps::own(&UNWOKEN, 0) else { return BPF_RB_FORCE_WAKEUP };
    *unwoken += len as u64;
    if wake == Wake::Now || *unwoken >= wake_bytes() {
        *unwoken = 0;
        return BPF_RB_FORCE_WAKEUP;
    }
    BPF_RB_NO_WAKEUP
}
