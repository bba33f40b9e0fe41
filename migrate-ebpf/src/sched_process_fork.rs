//! A task has made a task, which has not run yet.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::Kind;
use migrate_common::syscalls::Group;

use crate::emit::{self, Event};
use crate::kernel::{Kptr, load, offset};
use crate::{clocks, coming, container, task};

#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    if let Some(container) = container::recording() {
        coming::present(&container);
        let (parent, child): (Kptr, Kptr) = (ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1));
        clocks::tell(&container, parent);
        clocks::copied(&container, parent, child);
        if let Some(slot) = container::wants(&container, Kind::Fork, Group::Process) {
            record(slot, parent, child);
        }
    }
    0
}

#[inline(always)]
fn record(slot: u32, parent: Kptr, child: Kptr) {
    let Some(numbered) = emit::number(slot) else { return };
    let parent_mm: u64 = load(parent, offset!(task_mm));
    let child_mm: u64 = load(child, offset!(task_mm));
    let shared = u64::from(parent_mm == child_mm);
    let args = [task::tid(child).nr.into(), task::tgid(child).into(), shared, 0, 0, 0];
    numbered.send(&Event::new(Kind::Fork, args));
}
