//! A signal is taken from a task's queue, to be handled or to act.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::{HEADER_BYTES, Header, Kind, SEGMENT_BYTES};

use crate::emit::{self, Wake};
use crate::kernel::{Kptr, load, offset};
use crate::{container, task};

/// struct kernel_siginfo; the loader refuses a kernel where it is another size.
const SIGINFO_BYTES: usize = 48;

#[btf_tracepoint(function = "signal_deliver")]
fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    if let Some(slot) = container::recording() {
        record(slot, ctx.arg(0), ctx.arg::<*const u8>(1), ctx.arg::<*const u8>(2));
    }
    0
}

#[inline(always)]
fn record(slot: u32, signal: i32, info: Kptr, action: Kptr) {
    let Some(entry) = emit::entry() else { return };
    let Some(counters) = emit::number(&mut entry.head, slot, Kind::Signal) else { return };
    let regs = task::registers();
    let head: &mut Header = &mut entry.head;
    head.len = (HEADER_BYTES + SEGMENT_BYTES + SIGINFO_BYTES) as u32;
    head.nr = signal;
    head.args[0] = load(action, offset!(sigaction_handler));
    head.args[1] = load(action, offset!(sigaction_flags));
    head.args[2] = load(regs, offset!(regs_orig_ax));
    head.args[3] = load(regs, offset!(regs_ip));
    // SAFETY: all within `payload`, whose start is 8-byte aligned: a segment's header and 48 bytes.
    unsafe {
        let segment = entry.payload.as_mut_ptr();
        segment.cast::<u64>().write(0);
        segment.add(8).cast::<u64>().write(SIGINFO_BYTES as u64);
        let data = segment.add(SEGMENT_BYTES);
        // A task that dies of a signal of its group's takes a SIGKILL whose siginfo is SEND_SIG_NOINFO, a null pointer. The
        // helper has zeroed `data` then: the number is all there is to tell.
        if bpf_probe_read_kernel(data.cast(), SIGINFO_BYTES as u32, info.cast()) != 0 {
            data.cast::<i32>().write(signal);
        }
    }
    let len = HEADER_BYTES + SEGMENT_BYTES + SIGINFO_BYTES;
    emit::output((&raw const *entry).cast(), len, counters, true, Wake::Batched);
}
