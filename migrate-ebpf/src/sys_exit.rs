//! A system call returns.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::maps::Counters;
use migrate_common::record::{COMPAT_NR, Class, Header, Kind, flags};
use migrate_common::syscalls::{KRow, choice_key, krow_flags};

use crate::emit::{self, Wake};
use crate::kernel::{Kptr, load, offset};
use crate::maps::{CHOICES, RESTARTS, ROWS};
use crate::{container, file, payload, task};

/// arch/x86/entry/syscalls/syscall_64.tbl
const RT_SIGRETURN: i32 = 15;
const RESTART_SYSCALL: i32 = 219;
/// arch/x86/include/asm/thread_info.h: the call came through the 32-bit entry.
const TS_COMPAT: u32 = 2;
/// include/linux/errno.h: the call goes on as `restart_syscall`.
const ERESTART_RESTARTBLOCK: i64 = -516;
/// [`KRow::fd`] of a row whose descriptor is its result.
const FD_RET: u8 = 6;
const NO_FD: u8 = 0xff;
const NO_SELECT: u8 = 0xff;

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(slot) = container::recording() {
        record(slot, ctx.arg::<*const u8>(0), ctx.arg(1));
        #[cfg(feature = "log")]
        tell_broken(&ctx, slot);
    }
    0
}

/// Says which call could not be recorded whole: the entry under construction is its last.
#[cfg(feature = "log")]
#[inline(always)]
fn tell_broken(ctx: &BtfTracePointContext, slot: u32) {
    let Some(entry) = emit::entry() else { return };
    let head = &entry.head;
    if head.flags & (flags::FAULT | flags::TOO_LARGE) != 0 {
        aya_log_ebpf::warn!(ctx, "slot {}: call {} of {} is not whole: flags {}", slot, head.nr, head.host_tid, head.flags);
    }
}

#[inline(always)]
fn record(slot: u32, regs: Kptr, ret: i64) {
    let Some(entry) = emit::entry() else { return };
    let head = &mut entry.head;
    let Some(counters) = emit::number(head, slot, Kind::Syscall) else { return };
    // rt_sigreturn has loaded the registers of before the signal, and with them orig_rax = -1.
    let orig_ax = load::<u64>(regs, offset!(regs_orig_ax)) as i32;
    head.nr = if orig_ax == -1 { RT_SIGRETURN } else { orig_ax };
    if load::<u32>(task::current(), offset!(task_thread_status)) & TS_COMPAT != 0 {
        head.nr = head.nr.wrapping_add(COMPAT_NR);
    }
    head.ret = ret;
    head.args[0] = load(regs, offset!(regs_di));
    head.args[1] = load(regs, offset!(regs_si));
    head.args[2] = load(regs, offset!(regs_dx));
    head.args[3] = load(regs, offset!(regs_r10));
    head.args[4] = load(regs, offset!(regs_r8));
    head.args[5] = load(regs, offset!(regs_r9));
    let nr = continued(head, counters);
    let Some(row) = row(nr, head) else { return send(head, counters) };
    describe(head, row);
    let own = row.flags & krow_flags::NOT_OF_OWN_FILES != 0 && head.class == Class::OwnFile as u8;
    if row.outs_len == 0 || own {
        return send(head, counters);
    }
    payload::capture(slot, row);
}

/// Sends a record without payload.
#[inline(always)]
fn send(head: &Header, counters: &mut Counters) {
    emit::output((&raw const *head).cast(), size_of::<Header>(), counters, true, Wake::Batched);
}

/// The number of the call whose outputs these are: for `restart_syscall` the one that it continues. The registers are the
/// same, so its arguments are still there.
#[inline(always)]
fn continued(head: &mut Header, counters: &mut Counters) -> i32 {
    let mut nr = head.nr;
    if nr == RESTART_SYSCALL {
        let Some(of) = RESTARTS.get_ptr(head.host_tid) else { return nr };
        // SAFETY: only this task writes the value, and it is here.
        nr = unsafe { *of };
    }
    if head.ret == ERESTART_RESTARTBLOCK && RESTARTS.insert(head.host_tid, nr, 0).is_err() {
        // Nobody would know what the restarted call writes.
        head.flags |= flags::FAULT;
        counters.faults += 1;
    }
    nr
}

/// The row of a call, with its choice made.
#[inline(always)]
fn row(nr: i32, head: &Header) -> Option<&'static KRow> {
    let row = ROWS.get(nr as u32)?;
    if row.flags & krow_flags::PRESENT == 0 {
        return None;
    }
    if row.select == NO_SELECT {
        return Some(row);
    }
    let key = choice_key(nr as u16, arg(head, row.select) as u32);
    // SAFETY: nothing is inserted or removed after the programs were attached.
    unsafe { CHOICES.get(key) }.or(Some(row))
}

/// Says what the call's descriptor is.
#[inline(always)]
fn describe(head: &mut Header, row: &KRow) {
    if row.fd == NO_FD {
        return;
    }
    let fd = if row.fd == FD_RET { head.ret } else { arg(head, row.fd) as i64 };
    let (class, append) = file::class(fd as i32);
    head.class = class as u8;
    head.flags |= append;
}

/// Argument `index`. Written out: an index from memory would make the verifier want bounds on the record itself.
#[inline(always)]
fn arg(head: &Header, index: u8) -> u64 {
    match index {
        0 => head.args[0],
        1 => head.args[1],
        2 => head.args[2],
        3 => head.args[3],
        4 => head.args[4],
        _ => head.args[5],
    }
}
