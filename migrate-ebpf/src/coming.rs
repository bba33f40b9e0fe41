//! A task of a container whose tasks take turns comes to the CPU: who left before it outside of a call, and whether its own coming is told.
//!
//! The switch shows that, but not every switch is shown: kernels hide those away from some of their own tasks, and a virtual
//! machine's from its keeper's. So each event of a task asks whether its coming was seen ([`present`]); between an unseen coming and the
//! task's next event nobody else of the container has run, or it would have been seen to leave.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use migrate_common::maps::{Container, Turn};
use migrate_common::record::{HEADER_BYTES, Header, Kind, PT_REGS_BYTES, SEGMENT_BYTES};
use migrate_common::syscalls::Group;

use crate::emit::{self, Event, Numbered};
use crate::kernel::{Kptr, load, offset};
use crate::maps::{self, AWAY, LEFT, TURNS};
use crate::place::PLACE_BYTES;
use crate::turns::{Left, STACK_BYTES, memory};
use crate::{clock, container, task};

#[inline(always)]
pub fn turn(slot: u32) -> Option<&'static mut Turn> {
    let turn = TURNS.get_ptr_mut(slot)?;
    // SAFETY: the slot's tasks run on one CPU, where this program is not interrupted by another of ours.
    Some(unsafe { &mut *turn })
}

/// The current task has an event: it runs, whether or not it was seen to come.
#[inline(always)]
pub fn present(container: &Container) {
    if !container::takes_turns(container) {
        return;
    }
    let Some(turn) = turn(container.slot) else { return };
    let task = task::current();
    if turn.task != load::<u32>(task, offset!(task_pid)) {
        comes(container, task);
    }
}

#[inline(always)]
pub fn comes(container: &Container, task: Kptr) {
    let slot = container.slot;
    let Some(turn) = turn(slot) else { return };
    let host_tid: u32 = load(task, offset!(task_pid));
    if turn.left != 0 && turn.left != host_tid {
        if let Some(wanted) = container::wants(container, Kind::Switch, Group::Process) {
            tell_left(wanted);
        }
        if AWAY.insert(turn.left, slot, 0).is_err() {
            // Nobody would tell that it runs again: a hole in the log ends it.
            let _ = emit::number(slot).map(|numbered| numbered.account(false, 0));
        }
    }
    turn.left = 0;
    if AWAY.remove(host_tid).is_ok()
        && let Some(wanted) = container::wants(container, Kind::Resume, Group::Process)
    {
        tell_resumed(wanted, task, host_tid);
    }
    if let Some(descriptors) = maps::descriptors() {
        descriptors.forget();
    }
    if turn.task != host_tid || turn.waits != 0 {
        turn.task = host_tid;
        turn.tid = task::tid(task).nr;
        turn.since_ns = clock::exact_ns();
    }
    turn.waits = 0;
}

#[inline(always)]
fn tell_resumed(slot: u32, task: Kptr, host_tid: u32) {
    let Some(numbered) = emit::number(slot) else { return };
    let entry = emit::reserve(HEADER_BYTES as u64);
    if entry.is_null() {
        return numbered.account(false, 0);
    }
    let header = numbered.header_of(&Event::new(Kind::Resume, [0; 6]), HEADER_BYTES, task::tid(task).nr, host_tid);
    // SAFETY: the ring gave `HEADER_BYTES` bytes, 8-byte aligned.
    unsafe { entry.cast::<Header>().write(header) };
    numbered.submit(entry, HEADER_BYTES, HEADER_BYTES, 0);
}

#[inline(always)]
fn tell_left(slot: u32) {
    let (Some(left), Some(numbered)) = (LEFT.get_ptr_mut(slot), emit::number(slot)) else { return };
    // SAFETY: as in `turn`.
    let left: &Left = unsafe { &*left };
    // The ring's entries have their final length from the start, which is a constant on each path.
    match left.memory {
        memory::PLACE => tell::<PLACE_BYTES>(numbered, left, |to| {
            // SAFETY: there is room for as many bytes; they lie in a map, which the helper reads as it reads any of the kernel's memory.
            unsafe { bpf_probe_read_kernel(to.cast(), PLACE_BYTES as u32, left.place.as_ptr().cast()) };
        }),
        memory::STACK => tell::<{ SEGMENT_BYTES + STACK_BYTES }>(numbered, left, |to| {
            // SAFETY: there is room for the segment.
            unsafe { segment(to, left.sp, left.stack.as_ptr(), STACK_BYTES) };
        }),
        _ => tell::<0>(numbered, left, |_| {}),
    }
}

/// The record, with `MORE` bytes of segments behind the registers.
#[inline(always)]
fn tell<const MORE: usize>(numbered: Numbered, left: &Left, write: impl FnOnce(*mut u8)) {
    const REGS_END: usize = HEADER_BYTES + SEGMENT_BYTES + PT_REGS_BYTES;
    let len = REGS_END + MORE;
    let entry = emit::reserve(len as u64);
    if entry.is_null() {
        return numbered.account(false, 0);
    }
    let event = Event::new(Kind::Switch, [left.ip, left.sp, left.orig_ax, 0, 0, 0]);
    // SAFETY: the ring gave `len` bytes, 8-byte aligned.
    unsafe {
        entry.cast::<Header>().write(numbered.header_of(&event, len, left.tid, left.host_tid));
        segment(entry.add(HEADER_BYTES), 0, left.regs.as_ptr().cast(), PT_REGS_BYTES);
        write(entry.add(REGS_END));
    }
    numbered.submit(entry, len, len, 0);
}

/// Writes a segment of `len` bytes, a multiple of 8, at `to`.
///
/// # Safety
/// `to` has room for it, `from` has the bytes, both aligned to 8.
#[inline(always)]
unsafe fn segment(to: *mut u8, addr: u64, from: *const u8, len: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        to.cast::<u64>().write(addr);
        to.add(8).cast::<u64>().write(len as u64);
        // The bytes lie in a map, which the helper reads as it reads any of the kernel's memory.
        bpf_probe_read_kernel(to.add(SEGMENT_BYTES).cast(), len as u32, from.cast());
    }
}
