//! A task has entered a new image, whose first instruction has not run yet.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::maps::{Container, phase};
use migrate_common::record::Kind;
use migrate_common::syscalls::Group;

use crate::emit::{self, Event};
use crate::kernel::{Kptr, load, offset};
use crate::maps::EXECS;
use crate::{clocks, coming, container, task};

/// include/uapi/linux/personality.h
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    if let Some(container) = started() {
        coming::present(&container);
        clocks::new_image(&container, task::current());
        if let Some(slot) = container::wants(&container, Kind::Exec, Group::Process) {
            #[cfg(feature = "log")]
            aya_log_ebpf::debug!(&ctx, "slot {}: exec", slot);
            record(slot, ctx.arg::<*const u8>(0), ctx.arg(1));
        }
    }
    0
}

/// The container to record for. One that its runtime still sets up starts here, when pid 1 of a pid namespace enters
/// the image that the container was made for.
#[inline(always)]
fn started() -> Option<Container> {
    // SAFETY: as in `container::recording`; who else writes the phase writes the same.
    let container = unsafe { &mut *container::current()? };
    if container.phase == phase::SETUP {
        let tid = task::tid(task::current());
        if tid.level == 0 || tid.nr != 1 {
            return None;
        }
        container.phase = phase::RECORDING;
    }
    (container.phase == phase::RECORDING).then_some(*container)
}

#[inline(always)]
fn record(slot: u32, task: Kptr, old_pid: u32) {
    let Some(numbered) = emit::number(slot) else { return };
    // Until its call returns its registers are the new image's already.
    let _ = EXECS.insert(load::<u32>(task, offset!(task_pid)), slot, 0);
    let personality: u32 = load(task, offset!(task_personality));
    let follower = load::<u32>(task, offset!(task_pid)) != old_pid;
    let args = [u64::from(personality & ADDR_NO_RANDOMIZE != 0), u64::from(follower), 0, 0, 0, 0];
    numbered.send(&Event::new(Kind::Exec, args));
}
