//! A signal is taken from a task's queue, to be handled or to act.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::record::{HEADER_BYTES, Header, Kind, PT_REGS_BYTES, SEGMENT_BYTES};
use migrate_common::syscalls::Group;

use crate::emit::{self, Event, Numbered};
use crate::kernel::{Kptr, load, offset, read};
use crate::{coming, container, task};

/// struct kernel_siginfo; the loader refuses a kernel where it is another size.
const SIGINFO_BYTES: usize = 48;
const SIG_IGN: u64 = 1;
/// rsp in struct pt_regs, in words.
const PT_REGS_SP: usize = 19;
/// General registers before orig_rax in struct pt_regs: each may point to something that tells one turn of a loop from another.
const POINTERS: usize = 15;
/// Bytes where a register points to, from a multiple of as many on.
const WINDOW_BYTES: usize = 64;
/// The red zone, where a function that calls no other keeps its variables.
const STACK_BELOW_BYTES: usize = 128;
/// From the stack pointer up: calls of one function with the same arguments are told by their callers. In four parts, so that not all is
/// lost where the stack ends.
const STACK_ABOVE_BYTES: usize = 2048;

#[btf_tracepoint(function = "signal_deliver")]
fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    if let Some(container) = container::recording() {
        coming::present(&container);
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
    let args = [handler, load(action, offset!(sigaction_flags)), orig_ax.cast_unsigned(), load(regs, offset!(regs_ip)), 0, 0];
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

/// A record with the place where the task is: registers, the stack around its pointer, and what registers point to.
#[inline(always)]
fn in_user_code(numbered: Numbered, event: &Event, info: Kptr, regs: Kptr) {
    const INFO: usize = HEADER_BYTES;
    const REGS: usize = INFO + SEGMENT_BYTES + SIGINFO_BYTES;
    const BELOW: usize = REGS + SEGMENT_BYTES + PT_REGS_BYTES;
    const ABOVE: usize = BELOW + SEGMENT_BYTES + STACK_BELOW_BYTES;
    const WINDOWS: usize = ABOVE + 4 * SEGMENT_BYTES + STACK_ABOVE_BYTES;
    const LEN: usize = WINDOWS + POINTERS * (SEGMENT_BYTES + WINDOW_BYTES);
    let entry = emit::reserve(LEN as u64);
    if entry.is_null() {
        return numbered.account(false, 0);
    }
    let mut words = [0_u64; PT_REGS_BYTES / 8];
    // SAFETY: the ring gave `LEN` bytes, 8-byte aligned, in which the parts lie one behind the other; the helpers check the
    // addresses that they read.
    unsafe {
        bpf_probe_read_kernel(words.as_mut_ptr().cast(), PT_REGS_BYTES as u32, regs.cast());
        let sp = words[PT_REGS_SP];
        entry.cast::<Header>().write(numbered.header(event, LEN));
        write_info(entry.add(INFO), event.nr, info);
        entry.add(REGS).cast::<u64>().write(0);
        entry.add(REGS + 8).cast::<u64>().write(PT_REGS_BYTES as u64);
        entry.add(REGS + SEGMENT_BYTES).cast::<[u64; PT_REGS_BYTES / 8]>().write(words);
        write_user::<STACK_BELOW_BYTES>(entry.add(BELOW), sp.wrapping_sub(STACK_BELOW_BYTES as u64));
        write_user::<256>(entry.add(ABOVE), sp);
        write_user::<256>(entry.add(ABOVE + 256 + SEGMENT_BYTES), sp.wrapping_add(256));
        write_user::<512>(entry.add(ABOVE + 512 + 2 * SEGMENT_BYTES), sp.wrapping_add(512));
        write_user::<1024>(entry.add(ABOVE + 1024 + 3 * SEGMENT_BYTES), sp.wrapping_add(1024));
        let mut n = 0;
        // r15 to rdi, all before orig_rax: as many as there are windows.
        while n < POINTERS {
            let at = WINDOWS + n * (SEGMENT_BYTES + WINDOW_BYTES);
            write_user::<WINDOW_BYTES>(entry.add(at), words[n] & !(WINDOW_BYTES as u64 - 1));
            n += 1;
        }
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

/// A segment of `N` bytes of the task's memory at `addr`; of zeros at address 0 if that cannot be read.
///
/// # Safety
/// There is room for a segment's header and `N` bytes at `segment`, 8-byte aligned.
#[inline(always)]
unsafe fn write_user<const N: usize>(segment: *mut u8, addr: u64) {
    // SAFETY: the caller's promise; the helper checks the address, and zeroes the bytes where it cannot read.
    unsafe {
        let failed = bpf_probe_read_user(segment.add(SEGMENT_BYTES).cast(), N as u32, addr as *const _) != 0;
        segment.cast::<u64>().write(if failed { 0 } else { addr });
        segment.add(8).cast::<u64>().write(N as u64);
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
