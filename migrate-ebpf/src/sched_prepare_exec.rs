//! A task is about to enter a new image, and has its old memory for the last time. Since Linux 6.9; attached only where processes may read clocks
//! without a call.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::{clocks, coming, container, task};

#[btf_tracepoint(function = "sched_prepare_exec")]
fn sched_prepare_exec(_ctx: BtfTracePointContext) -> i32 {
    if let Some(container) = container::recording() {
        coming::present(&container);
        clocks::tell(&container, task::current());
        clocks::end(&container, task::current());
    }
    0
}
