//! A task has made a task, which has not run yet.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::{Header, Kind};

use crate::emit::{self, Wake};
use crate::kernel::{Kptr, load, offset};
use crate::{container, task};

#[btf_tracepoint(function = "sched_process_fork")]
fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    if let Some(slot) = container::recording() {
        record(slot, ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1));
    }
    0
}

#[inline(always)]
fn record(slot: u32, parent: Kptr, child: Kptr) {
    let Some(entry) = emit::entry() else { return };
    let head = &mut entry.head;
    let Some(counters) = emit::number(head, slot, Kind::Fork) else { return };
    let parent_mm: u64 = load(parent, offset!(task_mm));
    let child_mm: u64 = load(child, offset!(task_mm));
    head.args[0] = u64::from(task::tid(child).nr);
    head.args[1] = u64::from(task::tgid(child));
    head.args[2] = u64::from(parent_mm == child_mm);
    emit::output((&raw const *head).cast(), size_of::<Header>(), counters, true, Wake::Now);
}
