//! A task ends.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::{Header, Kind};

use crate::container;
use crate::emit::{self, Wake};
use crate::kernel::{Kptr, load, offset};
use crate::maps::RESTARTS;

#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(slot) = container::recording() {
        record(slot, ctx.arg::<*const u8>(0));
    }
    0
}

#[inline(always)]
fn record(slot: u32, task: Kptr) {
    let Some(entry) = emit::entry() else { return };
    let head = &mut entry.head;
    let Some(counters) = emit::number(head, slot, Kind::Exit) else { return };
    // Most tasks have none; that is no error.
    let _ = RESTARTS.remove(head.host_tid);
    head.args[0] = u64::from(load::<u32>(task, offset!(task_exit_code)));
    emit::output((&raw const *head).cast(), size_of::<Header>(), counters, true, Wake::Now);
}
