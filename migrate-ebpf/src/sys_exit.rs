//! A system call returns.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::maps::Counters;
use migrate_common::record::{COMPAT_NR, Class, HEADER_BYTES, Header, Kind, SEGMENT_BYTES, flags};
use migrate_common::syscalls::{KRow, choice_key, krow_flags};

use crate::emit::{self, Entry, Wake};
use crate::kernel::{Kptr, load, offset};
use crate::maps::{CHOICES, RESTARTS, ROWS};
use crate::{container, file, payload, task};

/// arch/x86/entry/syscalls/syscall_64.tbl
const RT_SIGRETURN: i32 = 15;
const SENDFILE: i32 = 40;
const RESTART_SYSCALL: i32 = 219;
const COPY_FILE_RANGE: i32 = 326;
/// arch/x86/include/asm/thread_info.h: the call came through the 32-bit entry.
const TS_COMPAT: u32 = 2;
/// include/linux/errno.h: the call goes on as `restart_syscall`.
const ERESTART_RESTARTBLOCK: i64 = -516;
/// [`KRow::fd`] of a row whose descriptor is its result.
const FD_RET: u8 = 6;
/// Bytes of a record with the offset of a file.
const OFFSET_LEN: u32 = (HEADER_BYTES + SEGMENT_BYTES + size_of::<u64>()) as u32;
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
    let Some(row) = row(nr, head) else { return send(entry, counters) };
    describe(head, row);
    let own = head.class == Class::OwnFile as u8;
    if own && ret > 0 && row.flags & krow_flags::OFFSET != 0 {
        add_offset(entry);
        return send(entry, counters);
    }
    if row.outs_len == 0 || (own && row.flags & krow_flags::NOT_OF_OWN_FILES != 0) {
        return send(entry, counters);
    }
    payload::capture(slot, row);
}

/// Sends a record without outputs.
#[inline(always)]
fn send(entry: &Entry, counters: &mut Counters) {
    // Two lengths that the verifier knows, not one that it does not.
    let len = if entry.head.len == OFFSET_LEN { OFFSET_LEN as usize } else { HEADER_BYTES };
    emit::output((&raw const *entry).cast(), len, counters, true, Wake::Batched);
}

/// Adds where the file of the call, which its first argument names, now stands.
#[inline(always)]
fn add_offset(entry: &mut Entry) {
    entry.head.len = OFFSET_LEN;
    let offset = file::offset(entry.head.args[0] as i32);
    // SAFETY: all within `payload`, whose start is 8-byte aligned: a segment's header and 8 bytes.
    unsafe {
        let segment = entry.payload.as_mut_ptr().cast::<u64>();
        segment.write(0);
        segment.add(1).write(size_of::<u64>() as u64);
        segment.add(2).write(offset);
    }
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
    let source = match head.nr {
        SENDFILE => head.args[1],
        COPY_FILE_RANGE => head.args[0],
        _ => return,
    };
    if file::class(source as i32).0 == Class::OwnFile {
        head.flags |= flags::FROM_OWN;
    }
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
