//! A signal is taken from a task's queue, to be handled or to act.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::{HEADER_BYTES, Header, Kind, PT_REGS_BYTES, SEGMENT_BYTES};
use migrate_common::syscalls::Group;

use crate::emit::{self, Event, Numbered};
use crate::kernel::{Kptr, load, offset, read};
use crate::place::{self, PLACE_BYTES, WORDS};
use crate::{clocks, coming, container, task};

/// struct kernel_siginfo; the loader refuses a kernel where it is another size.
const SIGINFO_BYTES: usize = 48;
const SIG_IGN: u64 = 1;

#[btf_tracepoint(function = "signal_deliver")]
fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    if let Some(container) = container::recording() {
        coming::present(&container);
        clocks::tell(&container, task::current());
        if let Some(slot) = container::wants(&container, Kind::Signal, Group::Signal) {
            record(slot, ctx.arg(0), ctx.arg::<*const u8>(1), ctx.arg::<*const u8>(2));
        }
    }
    0
}

#[inline(always)]
fn record(slot: u32, signal: i32, info: Kptr, action: Kptr) {
    let Some(numbered) = emit::number(slot) else { return };
    let regs = task::registers();
    let handler: u64 = load(action, offset!(sigaction_handler));
    let orig_ax: i64 = load(regs, offset!(regs_orig_ax));
    let [trap, address] = last_trap();
    let flags = load(action, offset!(sigaction_flags));
    let args = [handler, flags, orig_ax.cast_unsigned(), load(regs, offset!(regs_ip)), trap, address];
    let mut event = Event::new(Kind::Signal, args);
    event.nr = signal;
    if handler > SIG_IGN && orig_ax < 0 && !raised_by_itself(signal, info) {
        return in_user_code(numbered, &event, info, regs);
    }
    const LEN: usize = HEADER_BYTES + SEGMENT_BYTES + SIGINFO_BYTES;
    let entry = emit::reserve(LEN as u64);
    if entry.is_null() {
        return numbered.account(false, 0);
    }
    // SAFETY: the ring gave `LEN` bytes, 8-byte aligned: a header, a segment's header and 48 bytes.
    unsafe {
        entry.cast::<Header>().write(numbered.header(&event, LEN));
        write_info(entry.add(HEADER_BYTES), signal, info);
    }
    numbered.submit(entry, LEN, LEN, 0);
}

/// What the kernel keeps of the task's last trap, and puts into every signal's frame: number and error code, and the address.
#[inline(always)]
fn last_trap() -> [u64; 2] {
    let task = task::current();
    let number: u64 = load(task, offset!(task_trap_number));
    let error: u32 = load(task, offset!(task_trap_error));
    [number << 32 | u64::from(error), load(task, offset!(task_trap_address))]
}

/// A record with the place where the task is: registers, the stack around its pointer, and what registers point to.
#[inline(always)]
fn in_user_code(numbered: Numbered, event: &Event, info: Kptr, regs: Kptr) {
    const INFO: usize = HEADER_BYTES;
    const REGS: usize = INFO + SEGMENT_BYTES + SIGINFO_BYTES;
    const PLACE: usize = REGS + SEGMENT_BYTES + PT_REGS_BYTES;
    const LEN: usize = PLACE + PLACE_BYTES;
    let entry = emit::reserve(LEN as u64);
    if entry.is_null() {
        return numbered.account(false, 0);
    }
    let mut words = [0_u64; WORDS];
    // SAFETY: the ring gave `LEN` bytes, 8-byte aligned, in which the parts lie one behind the other; the helpers check the
    // addresses that they read.
    unsafe {
        bpf_probe_read_kernel(words.as_mut_ptr().cast(), PT_REGS_BYTES as u32, regs.cast());
        entry.cast::<Header>().write(numbered.header(event, LEN));
        write_info(entry.add(INFO), event.nr, info);
        entry.add(REGS).cast::<u64>().write(0);
        entry.add(REGS + 8).cast::<u64>().write(PT_REGS_BYTES as u64);
        entry.add(REGS + SEGMENT_BYTES).cast::<[u64; WORDS]>().write(words);
        place::write(entry.add(PLACE), &words);
    }
    numbered.submit(entry, LEN, LEN, 0);
}

/// A segment with the signal's siginfo.
///
/// # Safety
/// There is room for a segment's header and 48 bytes at `segment`, 8-byte aligned.
#[inline(always)]
unsafe fn write_info(segment: *mut u8, signal: i32, info: Kptr) {
    // SAFETY: the caller's promise.
    unsafe {
        segment.cast::<u64>().write(0);
        segment.add(8).cast::<u64>().write(SIGINFO_BYTES as u64);
        let data = segment.add(SEGMENT_BYTES);
        // A task that dies of a signal of its group's takes a SIGKILL whose siginfo is SEND_SIG_NOINFO, a null pointer. The
        // helper has zeroed `data` then: the number is all there is to tell.
        if bpf_probe_read_kernel(data.cast(), SIGINFO_BYTES as u32, info.cast()) != 0 {
            data.cast::<i32>().write(signal);
        }
    }
}

/// A fault of the task's own instruction: a replica raises it too, at the same place.
#[inline(always)]
fn raised_by_itself(signal: i32, info: Kptr) -> bool {
    /// SIGILL 4, SIGTRAP 5, SIGBUS 7, SIGFPE 8, SIGSEGV 11, SIGSYS 31.
    const SYNCHRONOUS: u64 = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 31;
    /// Behind si_signo and si_errno.
    const SI_CODE: usize = 8;
    signal < 64 && SYNCHRONOUS >> (signal & 63) & 1 != 0 && read::<i32>(info, SI_CODE) > 0
}
