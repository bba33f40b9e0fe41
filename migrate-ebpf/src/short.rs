//! The short way of calls that servers make most, reads and writes of sockets above all, by tasks that take turns.
//!
//! The way of all calls ([`sys_exit`](crate::sys_exit)) leads past more instructions than the nearest cache holds beside the kernel's own, and fetching them is most
//! of its cost. What is the same from one such call to the next is known on their CPU; where anything is not, nothing has been done, and the call
//! takes the way of all. The record is the same.

use migrate_common::maps::{Container, mode};
use migrate_common::record::{HEADER_BYTES, Header, Kind};
use migrate_common::syscalls::{GroupSet, krow_flags};

use crate::batch::{self, OUTPUT_BYTES};
use crate::kernel::{Kptr, forget, load, offset};
use crate::maps::{self, ROWS, TURNS};
use crate::sys_exit::TS_COMPAT;
use crate::{clock, clocks, container, emit, hold, payload, turns};

/// include/uapi/asm-generic/errno-base.h: the first errors end a call, and nothing else.
const ERANGE: i64 = 34;
const WANTED: u32 = mode::CAPTURE | mode::SERIAL;
const UNUSUAL: u32 = mode::ASIDE | mode::ASKS;

/// Tells of a call that returns. False: it is to take the way of all.
#[inline(always)]
pub fn tell(container: &Container, task: Kptr, regs: Kptr, ret: i64) -> bool {
    let usual = container.mode & (WANTED | UNUSUAL) == WANTED && container.groups == GroupSet::ALL.bits();
    if !usual || ret < -ERANGE || load::<u32>(task, offset!(task_thread_status)) & TS_COMPAT != 0 {
        return false;
    }
    let nr = load::<u64>(regs, offset!(regs_orig_ax)) as i32;
    let Some(row) = ROWS.get(nr as u32) else { return false };
    if row.flags & krow_flags::PLAIN == 0 {
        return false;
    }
    let mut output = 0;
    if row.outs_len != 0 && ret > 0 {
        output = (ret as u64).wrapping_mul(u64::from(row.outs[0].factor));
        if output > OUTPUT_BYTES as u64 {
            return false;
        }
    }
    let slot = container.slot;
    let host_tid: u32 = load(task, offset!(task_pid));
    let Some(turn) = TURNS.get_ptr_mut(slot) else { return false };
    // SAFETY: the tasks of the slot run on this CPU, and so does this program, which is not interrupted by another of ours.
    let turn = unsafe { &*turn };
    let fd: u64 = load(regs, offset!(regs_di));
    let Some(class) = maps::descriptors().and_then(|descriptors| descriptors.class(task, fd & 0xffff_ffff)) else { return false };
    let now = clock::tick_ns();
    if turn.task != host_tid || turns::is_to_be_looked_at(turn, now) {
        return false;
    }
    if container.mode & mode::CLOCKS != 0 && !batch::expects(slot, load(task, offset!(task_mm))) {
        clocks::begin_readings(slot);
    }
    let Some(entry) = batch::begin(slot) else { return false };
    let mut len = HEADER_BYTES;
    // SAFETY: there is room for a record with as many bytes of output, 8-byte aligned, and the verifier checks that all writes are within.
    unsafe {
        if output != 0 {
            let Some(written) = payload::write_output::<OUTPUT_BYTES>(entry, load(regs, offset!(regs_si)), output) else {
                batch::give_up();
                return false;
            };
            len = written;
        }
        // Only now: where it is told otherwise it has no number yet.
        let Some(numbered) = emit::number_of(task, slot, true) else {
            batch::give_up();
            return false;
        };
        entry.cast::<Header>().write(Header {
            len: len as u32,
            kind: Kind::Syscall as u8,
            class,
            flags: 0,
            slot,
            tid: turn.tid,
            seq: numbered.seq,
            time_ns: now,
            nr,
            host_tid,
            ret,
            args: [
                fd,
                load(regs, offset!(regs_si)),
                load(regs, offset!(regs_dx)),
                load(regs, offset!(regs_r10)),
                load(regs, offset!(regs_r8)),
                load(regs, offset!(regs_r9)),
            ],
        });
    }
    batch::end(len);
    // By the word itself first, which lies near: nearly always it says no.
    if maps::unwoken_bytes().is_some_and(|unwoken| forget(unwoken) == 0) && container::holds(container) && emit::has_woken() {
        hold::if_filling();
    }
    true
}
