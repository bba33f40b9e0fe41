//! A signal is taken from a task's queue, to be handled or to act.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::{HEADER_BYTES, Header, Kind, SEGMENT_BYTES};
use migrate_common::syscalls::Group;

use crate::emit::{self, Event};
use crate::kernel::{Kptr, load, offset};
use crate::{container, task};

/// struct kernel_siginfo; the loader refuses a kernel where it is another size.
const SIGINFO_BYTES: usize = 48;

#[btf_tracepoint(function = "signal_deliver")]
fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    if let Some(container) = container::recording()
        && let Some(slot) = container::wants(&container, Kind::Signal, Group::Signal)
    {
        record(slot, ctx.arg(0), ctx.arg::<*const u8>(1), ctx.arg::<*const u8>(2));
    }
    0
}

#[inline(always)]
fn record(slot: u32, signal: i32, info: Kptr, action: Kptr) {
    const LEN: usize = HEADER_BYTES + SEGMENT_BYTES + SIGINFO_BYTES;
    let Some(numbered) = emit::number(slot) else { return };
    let regs = task::registers();
    let args = [
        load(action, offset!(sigaction_handler)),
        load(action, offset!(sigaction_flags)),
        load(regs, offset!(regs_orig_ax)),
        load(regs, offset!(regs_ip)),
        0,
        0,
    ];
    let mut event = Event::new(Kind::Signal, args);
    event.nr = signal;
    let entry = emit::reserve(LEN as u64);
    if entry.is_null() {
        return numbered.account(false, 0);
    }
    // SAFETY: the ring gave `LEN` bytes, 8-byte aligned: a header, a segment's header and 48 bytes.
    unsafe {
        entry.cast::<Header>().write(numbered.header(&event, LEN));
        let segment = entry.add(HEADER_BYTES);
        segment.cast::<u64>().write(0);
        segment.add(8).cast::<u64>().write(SIGINFO_BYTES as u64);
        let data = segment.add(SEGMENT_BYTES);
        // A task that dies of a signal of its group's takes a SIGKILL whose siginfo is SEND_SIG_NOINFO, a null pointer. The
        // helper has zeroed `data` then: the number is all there is to tell.
        if bpf_probe_read_kernel(data.cast(), SIGINFO_BYTES as u32, info.cast()) != 0 {
            data.cast::<i32>().write(signal);
        }
    }
    numbered.submit(entry, LEN, LEN, 0);
}
