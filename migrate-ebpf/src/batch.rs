//! Records that wait on their CPU to be handed to the ring together.
//!
//! Room in the ring costs a lock and lines that no cache has, for each record. The tasks of a container that take turns run on one CPU, and
//! [`sched_switch`](crate::sched_switch) sees them leave it: their small records are put together here and handed over when the container
//! leaves or when there are enough of them, so that none waits while its container does not run. Of one that runs on, userspace asks for
//! them ([`hand_over`]) by a run of a program of its own on that CPU.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use migrate_common::record::{BATCH, BATCH_BYTES, HEADER_BYTES, SEGMENT_BYTES};

use crate::emit::{self, ring, wake_flags};
use crate::kernel::{load, offset};
use crate::maps;
use crate::{clocks, task};

/// The longest output of a record that waits here.
pub const OUTPUT_BYTES: usize = 512;
/// The longest such record.
const RECORD_BYTES: usize = HEADER_BYTES + SEGMENT_BYTES + OUTPUT_BYTES;
/// Records are handed over when they take as much: what stays in the nearest cache beside a program's own data.
const ENOUGH_BYTES: usize = 4096;
/// A multiple of 8 below [`ENOUGH_BYTES`], to mask by.
const PLACES: usize = ENOUGH_BYTES - 8;
const BYTES: usize = BATCH_BYTES + ENOUGH_BYTES + RECORD_BYTES;

/// What waits on one CPU: records of one slot.
#[repr(C)]
pub struct Batch {
    /// Not 0 while a record is written: a [`hand_over`] that interrupts that takes nothing.
    busy: u32,
    slot: u32,
    /// Of records, behind the batch's head.
    filled: u64,
    records: u64,
    /// Whose clock readings are expected: memory of a task of the slot's.
    mm: u64,
    /// Where the record for them waits, and 1; 0: there is none.
    readings: u64,
    /// The batch: its head and records.
    bytes: [u8; BYTES],
}

impl Batch {
    /// Whether there is room for another record of the slot, beside others.
    #[inline(always)]
    fn takes(&self, slot: u32) -> bool {
        get(&raw const self.slot) == slot && get(&raw const self.filled) < ENOUGH_BYTES as u64
    }
}

/// Where the next record of a slot is to be written; nobody hands anything over until [`end`] or [`give_up`], which must follow. It has at
/// most [`RECORD_BYTES`].
#[inline(always)]
pub fn begin(slot: u32) -> Option<*mut u8> {
    let batch = maps::batch()?;
    // Before the flush: a `hand_over` in its middle would hand over the same records.
    set(&raw mut batch.busy, 1);
    if !batch.takes(slot) {
        flush();
    }
    let batch = maps::batch()?;
    set(&raw mut batch.slot, slot);
    // The mask changes nothing but what the verifier knows.
    let at = get(&raw const batch.filled) as usize & PLACES;
    // SAFETY: there are as many bytes and RECORD_BYTES more.
    Some(unsafe { batch.bytes.as_mut_ptr().add(BATCH_BYTES + at) })
}

/// As [`begin`], and where that is among what waits.
#[inline(always)]
pub fn begin_at(slot: u32) -> Option<(*mut u8, u64)> {
    let entry = begin(slot)?;
    let batch = maps::batch()?;
    Some((entry, get(&raw const batch.filled)))
}

/// Whether what waits is of this slot, and a record for clock readings in this memory is among it, or none is needed.
#[inline(always)]
pub fn expects(slot: u32, mm: u64) -> bool {
    maps::batch().is_some_and(|batch| get(&raw const batch.mm) == mm && get(&raw const batch.slot) == slot)
}

/// This memory is another process's from here on than what waits may know it for.
#[inline(always)]
pub fn forget(mm: u64) {
    if let Some(batch) = maps::batch()
        && get(&raw const batch.mm) == mm
    {
        set(&raw mut batch.mm, 0);
    }
}

/// Clock readings in this memory have the record at `readings` - 1, or none is needed.
#[inline(always)]
pub fn expect(slot: u32, mm: u64, readings: u64) {
    let Some(batch) = maps::batch() else { return };
    set(&raw mut batch.mm, if get(&raw const batch.slot) == slot { mm } else { 0 });
    set(&raw mut batch.readings, readings);
}

/// Writes what has been read into the record for it, if the current task has this memory. The next readings need another.
#[inline(always)]
pub fn fill(mm: u64) {
    let Some(batch) = maps::batch() else { return };
    // A task that ends has no memory any more, and where nothing is expected there is none either.
    if mm == 0 || get(&raw const batch.mm) != mm {
        return;
    }
    let (readings, busy) = (get(&raw const batch.readings), get(&raw const batch.busy));
    set(&raw mut batch.busy, 1);
    set(&raw mut batch.mm, 0);
    if readings != 0 {
        let at = (readings - 1) as usize & PLACES;
        // SAFETY: the record lies there, as in `begin`.
        unsafe { clocks::fill(batch.bytes.as_mut_ptr().add(BATCH_BYTES + at), mm) };
    }
    set(&raw mut batch.busy, busy);
}

/// The record that was begun has `len` bytes.
#[inline(always)]
pub fn end(len: usize) {
    let Some(batch) = maps::batch() else { return };
    set(&raw mut batch.records, get(&raw const batch.records) + 1);
    set(&raw mut batch.filled, get(&raw const batch.filled) + len as u64);
    set(&raw mut batch.busy, 0);
}

/// There is no record.
#[inline(always)]
pub fn give_up() {
    if let Some(batch) = maps::batch() {
        set(&raw mut batch.busy, 0);
    }
}

/// Hands over what waits on this CPU, and counts it.
#[inline(never)]
pub fn flush() -> u64 {
    if maps::batch().is_none_or(|batch| get(&raw const batch.filled) == 0) {
        return 0;
    }
    fill(load(task::current(), offset!(task_mm)));
    let Some(batch) = maps::batch() else { return 0 };
    let (filled, records) = (get(&raw const batch.filled), get(&raw const batch.records));
    set(&raw mut batch.mm, 0);
    set(&raw mut batch.filled, 0);
    set(&raw mut batch.records, 0);
    let mut len = BATCH_BYTES as u64 + filled;
    // Never true, which the verifier does not know.
    if len > BYTES as u64 {
        len = BYTES as u64;
    }
    set(batch.bytes.as_mut_ptr().cast(), BATCH);
    // SAFETY: the verifier checks that the map is a ring and that `len` bytes can be read.
    let failed = unsafe { bpf_ringbuf_output(ring(), batch.bytes.as_mut_ptr().cast(), len, wake_flags(len as usize)) };
    if let Some(counters) = emit::counters(get(&raw const batch.slot)) {
        counters.seen += records;
        if failed == 0 {
            counters.emitted += records;
            counters.bytes += filled;
        } else {
            counters.ring_full += records;
        }
    }
    filled
}

/// Run by userspace on a CPU, in an interrupt there: hands over what waits. 1: a record is being written, try again. Not by aya's macro,
/// whose programs all return 0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp/sys_exit")]
extern "C" fn hand_over(_ctx: *mut c_void) -> i32 {
    let Some(batch) = maps::batch() else { return 0 };
    if get(&raw const batch.busy) != 0 {
        return 1;
    }
    flush();
    0
}

/// Reads what an interrupt may change.
#[inline(always)]
fn get<T: Copy>(at: *const T) -> T {
    // SAFETY: callers pass a field of a map's value.
    unsafe { at.read_volatile() }
}

/// Writes what an interrupt may look at.
#[inline(always)]
fn set<T>(at: *mut T, value: T) {
    // SAFETY: callers pass a field of a map's value, 8-byte aligned.
    unsafe { at.write_volatile(value) };
}
