//! Numbering records and putting them into the ring.
//!
//! A record's number is taken before anything can go wrong with it, so whatever is lost leaves a hole that userspace sees. Small
//! records are written where the ring has room for them ([`reserve`]); a record of unknown length is put together in [`ENTRY`]
//! and copied ([`output`]).

use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_ringbuf_reserve, bpf_ringbuf_submit};
use core::ffi::c_void;
use migrate_common::maps::{Counters, PIECE_BYTES};
use migrate_common::record::{HEADER_BYTES, Header, Kind, flags};

use crate::kernel::{Kptr, load, offset, wake_bytes};
use crate::maps::{self, COUNTERS, ENTRY, RING, SEQUENCE};
use crate::{batch, clock, task};

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

/// What a record tells, apart from who and when.
#[repr(C)]
pub struct Event {
    pub kind: u8,
    pub class: u8,
    pub flags: u16,
    pub nr: i32,
    pub ret: i64,
    /// Not 0: the time is told to the nanosecond.
    pub exact_time: u64,
    /// 8 places, so that a mask bounds an index.
    pub args: [u64; 8],
}

impl Event {
    /// An event that is no system call.
    #[inline(always)]
    pub fn new(kind: Kind, args: [u64; 6]) -> Self {
        let [a, b, c, d, e, f] = args;
        Self { kind: kind as u8, class: 0, flags: 0, nr: 0, ret: 0, exact_time: 0, args: [a, b, c, d, e, f, 0, 0] }
    }
}

/// A record that has its number.
pub struct Numbered {
    pub slot: u32,
    pub seq: u64,
    /// The current task.
    pub task: Kptr,
    /// A small record may wait on this CPU.
    pub waits: bool,
}

/// Numbers the next record of a slot.
#[inline(always)]
pub fn number(slot: u32) -> Option<Numbered> {
    number_of(task::current(), slot, false)
}

/// As [`number`], if `task` is the current task. `waits`: the slot's tasks take turns, and the record may wait on their CPU for others,
/// if it is small.
#[inline(always)]
pub fn number_of(task: Kptr, slot: u32, waits: bool) -> Option<Numbered> {
    let next = SEQUENCE.get_ptr_mut(slot)?;
    let seq = if waits {
        // SAFETY: of a map's value, 8-byte aligned. No other CPU numbers records of the slot: were it wrong a number would come twice,
        // which ends the log.
        unsafe {
            let seq = next.read_volatile();
            next.write_volatile(seq.wrapping_add(1));
            seq
        }
    } else {
        fetch_increment(next)
    };
    Some(Numbered { slot, seq, task, waits })
}

/// This CPU's counters of a slot.
#[inline(always)]
pub fn counters(slot: u32) -> Option<&'static mut Counters> {
    maps::own(&COUNTERS, slot)
}

impl Numbered {
    /// The header of the record, if it has `len` bytes.
    #[inline(always)]
    pub fn header(&self, event: &Event, len: usize) -> Header {
        self.header_of(event, len, task::tid(self.task).nr, load(self.task, offset!(task_pid)))
    }

    /// The same of another task than the current one.
    #[inline(always)]
    pub fn header_of(&self, event: &Event, len: usize, tid: u32, host_tid: u32) -> Header {
        let [a, b, c, d, e, f, ..] = event.args;
        Header {
            len: len as u32,
            kind: event.kind,
            class: event.class,
            flags: event.flags,
            slot: self.slot,
            tid,
            seq: self.seq,
            time_ns: if event.exact_time != 0 { clock::exact_ns() } else { clock::tick_ns() },
            nr: event.nr,
            host_tid,
            ret: event.ret,
            args: [a, b, c, d, e, f],
        }
    }

    /// Says how the record ended, once: it has left, or the ring was full.
    #[inline(always)]
    pub fn account(self, left: bool, flags: u16) {
        if let Some(counters) = counters(self.slot) {
            account(counters, left, flags);
        }
    }

    /// Sends a record without payload.
    #[inline(always)]
    pub fn send(self, event: &Event) {
        if self.waits {
            let Some(entry) = batch::begin(self.slot) else { return self.account(false, event.flags) };
            // SAFETY: there is room for any small record, 8-byte aligned.
            unsafe { entry.cast::<Header>().write(self.header(event, HEADER_BYTES)) };
            return self.end_batched(HEADER_BYTES, event.flags);
        }
        let entry = reserve(HEADER_BYTES as u64);
        if entry.is_null() {
            return self.account(false, event.flags);
        }
        // SAFETY: the ring gave `HEADER_BYTES` bytes, 8-byte aligned.
        unsafe { entry.cast::<Header>().write(self.header(event, HEADER_BYTES)) };
        self.submit(entry, HEADER_BYTES, HEADER_BYTES, event.flags);
    }

    /// Ends the record that [`batch::begin`] gave room for.
    #[inline(always)]
    pub fn end_batched(self, len: usize, flags: u16) {
        batch::end(len);
        // The rest is counted when it is handed over.
        if flags & flags::FAULT != 0
            && let Some(counters) = counters(self.slot)
        {
            counters.faults += 1;
        }
    }

    /// Hands an entry of `room` bytes, of which the record takes `len`, to the reader.
    #[inline(always)]
    pub fn submit(self, entry: *mut u8, room: usize, len: usize, flags: u16) {
        if let Some(counters) = counters(self.slot) {
            counters.bytes += len as u64;
            account(counters, true, flags);
        }
        // SAFETY: `entry` came from `reserve` and is not used any more.
        unsafe { bpf_ringbuf_submit(entry.cast(), wake_flags(room)) };
    }
}

/// Counts how a record ended: each in exactly one of three numbers.
#[inline(always)]
pub fn account(counters: &mut Counters, left: bool, flags: u16) {
    counters.seen += 1;
    if !left {
        counters.ring_full += 1;
        return;
    }
    if flags & flags::TOO_LARGE != 0 {
        counters.too_large += 1;
    } else {
        counters.emitted += 1;
    }
    if flags & flags::FAULT != 0 {
        counters.faults += 1;
    }
}

/// Room for an entry in the ring, or null. The verifier wants `bytes` to be a constant on each path that leads here.
#[inline(always)]
pub fn reserve(bytes: u64) -> *mut u8 {
    // SAFETY: the verifier checks that the map is a ring, and that what is returned is submitted.
    unsafe { bpf_ringbuf_reserve(ring(), bytes, 0).cast() }
}

/// Puts the first `len` bytes at `entry`, a record or a piece, into the ring. False: the ring was full.
///
/// `len` is bounded by the caller so that the verifier sees it.
#[inline(always)]
pub fn output(entry: *const u8, len: usize, counters: &mut Counters) -> bool {
    let flags = wake_flags(len);
    // SAFETY: the verifier checks that the map is a ring and that `len` bytes can be read at `entry`.
    let ret = unsafe { bpf_ringbuf_output(ring(), entry.cast_mut().cast(), len as u64, flags) };
    if ret != 0 {
        return false;
    }
    counters.bytes += len as u64;
    true
}

/// The entry under construction on this CPU.
#[inline(always)]
pub fn entry() -> Option<&'static mut Entry> {
    maps::own(&ENTRY, 0)
}

/// The ring, for helpers.
#[inline(always)]
pub fn ring() -> *mut c_void {
    (&raw const RING).cast_mut().cast()
}

/// Waking the reader costs more than the record: a CPU does it once every so many bytes, the reader's timer does the rest. Nobody
/// waits for one record.
#[inline(always)]
pub fn wake_flags(len: usize) -> u64 {
    let Some(unwoken) = maps::unwoken_bytes() else { return BPF_RB_FORCE_WAKEUP };
    *unwoken += len as u64;
    if *unwoken >= wake_bytes() {
        *unwoken = 0;
        return BPF_RB_FORCE_WAKEUP;
    }
    BPF_RB_NO_WAKEUP
}

/// Whether this CPU has woken the reader since it was last asked.
#[inline(always)]
pub fn has_woken() -> bool {
    let Some(unwoken) = maps::unwoken_bytes() else { return false };
    let has = *unwoken == 0;
    *unwoken |= 1;
    has
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
