//! A task ends.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::Kind;
use migrate_common::syscalls::Group;

use crate::emit::{self, Event};
use crate::kernel::{Kptr, load, offset};
use crate::maps::{EXECS, HOLDS, RESTARTS};
use crate::{clocks, coming, container};

#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(container) = container::recording() {
        let task: Kptr = ctx.arg::<*const u8>(0);
        let tid: u32 = load(task, offset!(task_pid));
        // Most tasks have none; that is no error.
        let _ = RESTARTS.remove(tid);
        let _ = HOLDS.remove(tid);
        let _ = EXECS.remove(tid);
        coming::present(&container);
        clocks::tell(&container, task);
        clocks::end(&container, task);
        if let Some(slot) = container::wants(&container, Kind::Exit, Group::Process) {
            record(slot, task);
        }
    }
    0
}

#[inline(always)]
fn record(slot: u32, task: Kptr) {
    let Some(numbered) = emit::number(slot) else { return };
    let code: u32 = load(task, offset!(task_exit_code));
    numbered.send(&Event::new(Kind::Exit, [code.into(), 0, 0, 0, 0, 0]));
}
