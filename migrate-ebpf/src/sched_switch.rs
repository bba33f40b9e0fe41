//! A CPU goes from one task to another. Attached only while there is a container whose tasks take turns.
//!
//! A task that leaves in user code is remembered ([`LEFT`]), and told only when another task of its container is next: whatever else
//! the CPU does in between is nothing to the container. The current task is still the one that leaves.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::maps::Container;
use migrate_common::record::PT_REGS_BYTES;

use crate::kernel::{Kptr, load, offset};
use crate::maps::LEFT;
use crate::turns::{self, STACK_BYTES, memory};
use crate::{batch, clocks, coming, container, place, task};

#[btf_tracepoint(function = "sched_switch")]
fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let (preempted, state): (u64, u32) = (ctx.arg(0), ctx.arg(3));
    let (previous, next) = (ctx.arg::<*const u8>(1), ctx.arg::<*const u8>(2));
    let follower = container::serial(next);
    if let Some(container) = container::serial(previous) {
        leaves(&container, previous, preempted == 0 && state != 0);
        // The container runs on: so does what waits for company.
        if follower.is_none_or(|follower| follower.slot != container.slot) {
            batch::flush();
        }
    }
    if let Some(container) = follower {
        coming::comes(&container, next);
    }
    0
}

#[inline(always)]
fn leaves(container: &Container, task: Kptr, waits: bool) {
    coming::present(container);
    clocks::tell(container, task);
    let Some(turn) = coming::turn(container.slot) else { return };
    turn.waits = u32::from(waits);
    turn.runnable = turns::runnable(task);
    turn.left = 0;
    let regs = task::registers_of(task);
    if !turns::is_outside(task, regs) {
        return;
    }
    let Some(left) = LEFT.get_ptr_mut(container.slot) else { return };
    // SAFETY: as in `coming::turn`.
    let left = unsafe { &mut *left };
    left.tid = task::tid(task).nr;
    left.host_tid = load(task, offset!(task_pid));
    left.ip = load(regs, offset!(regs_ip));
    left.sp = load(regs, offset!(regs_sp));
    left.orig_ax = load(regs, offset!(regs_orig_ax));
    // SAFETY: the helpers check the addresses, and write at most what the arrays hold.
    unsafe {
        bpf_probe_read_kernel(left.regs.as_mut_ptr().cast(), PT_REGS_BYTES as u32, regs.cast());
        if left.orig_ax as i64 >= 0 {
            let read = bpf_probe_read_user(left.stack.as_mut_ptr().cast(), STACK_BYTES as u32, left.sp as *const _);
            left.memory = if read == 0 { memory::STACK } else { memory::NONE };
        } else {
            left.reads = 0;
            clocks::place(container, left);
            place::write(left.place.as_mut_ptr(), &left.regs);
            if left.reads != 0 {
                place::forget_below(left.place.as_mut_ptr());
            }
            left.memory = memory::PLACE;
        }
    }
    let computes = (left.orig_ax as i64) < 0;
    (turn.ip, turn.sp) = if computes { (left.ip, left.sp) } else { (0, 0) };
    turn.left = left.host_tid;
}
