//! A system call returns.
//!
//! ```text
//!   whose? -> which row? -> of what descriptor? -> wanted? -> tallied -> numbered -> none, one or many outputs
//! ```

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use migrate_common::maps::Container;
use migrate_common::record::{COMPAT_NR, Class, Kind, flags};
use migrate_common::syscalls::{Group, KRow, choice_key, krow_flags};

use crate::emit::{self, Event};
use crate::kernel::{Kptr, forget, load, offset};
use crate::maps::{self, CHOICES, ROWS};
use crate::payload::{self, Outputs, shape};
use crate::{clocks, coming, container, file, hold, restart, short, tally, task, turns};

/// arch/x86/entry/syscalls/syscall_64.tbl
const RT_SIGRETURN: i32 = 15;
const SENDFILE: i32 = 40;
const RESTART_SYSCALL: i32 = 219;
const COPY_FILE_RANGE: i32 = 326;
/// arch/x86/include/asm/thread_info.h: the call came through the 32-bit entry.
pub const TS_COMPAT: u32 = 2;
/// include/linux/errno.h: the call goes on as `restart_syscall`.
const ERESTART_RESTARTBLOCK: i64 = -516;
/// [`KRow::fd`] of a row whose descriptor is its result.
const FD_RET: u8 = 6;
const NO_FD: u8 = 0xff;
const NO_SELECT: u8 = 0xff;

/// The call that returns. It lies in a map and not on the stack: what is read back from there has no history that the verifier
/// would follow.
#[repr(C)]
pub struct Call {
    pub event: Event,
    pub outputs: Outputs,
}

#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    let task = task::current();
    if let Some(container) = container::recording_of(task)
        && !container::is_aside(&container, task)
        && !short::tell(&container, task, ctx.arg::<*const u8>(0), ctx.arg(1))
    {
        coming::present(&container);
        clocks::before_call(&container, task, load(ctx.arg::<*const u8>(0), offset!(regs_ip)));
        record(&container, task, ctx.arg::<*const u8>(0), ctx.arg(1));
        // How full the ring is matters as often as it does to the reader.
        if container::holds(&container) && emit::has_woken() {
            hold::if_filling();
        }
        turns::after_call(&container, task);
        #[cfg(feature = "log")]
        tell_broken(&ctx, container.slot);
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
fn record(container: &Container, task: Kptr, regs: Kptr, ret: i64) {
    // rt_sigreturn has loaded the registers of before the signal, and with them orig_rax = -1.
    let orig_ax = load::<u64>(regs, offset!(regs_orig_ax)) as i32;
    let mut nr = if orig_ax == -1 { RT_SIGRETURN } else { orig_ax };
    if load::<u32>(task, offset!(task_thread_status)) & TS_COMPAT != 0 {
        nr = nr.wrapping_add(COMPAT_NR);
    }
    let Some(call) = maps::call() else { return };
    let event = &mut call.event;
    event.kind = Kind::Syscall as u8;
    (event.class, event.flags, event.nr, event.ret, event.exact_time) = (Class::None as u8, 0, nr, ret, 0);
    event.args[0] = load(regs, offset!(regs_di));
    event.args[1] = load(regs, offset!(regs_si));
    event.args[2] = load(regs, offset!(regs_dx));
    event.args[3] = load(regs, offset!(regs_r10));
    event.args[4] = load(regs, offset!(regs_r8));
    event.args[5] = load(regs, offset!(regs_r9));
    let of = continued(task, event);
    let row = row(of, event);
    let group = if nr == RESTART_SYSCALL { Group::Signal as u8 } else { row.map_or(Group::Other as u8, |row| row.group) };
    if container.groups & possible(group) == 0 {
        return;
    }
    // Before its own descriptor is looked at, which is kept as it is behind the call.
    if row.is_none_or(|row| row.flags & krow_flags::KEEPS == 0)
        && let Some(descriptors) = maps::descriptors()
    {
        descriptors.forget();
    }
    if let Some(row) = row {
        event.exact_time = u64::from(row.flags & krow_flags::EXACT_TIME);
        describe(task, event, row);
        event.flags |= turns::shared(task, event);
    }
    let socket = is_socket(forget(&event.class));
    let group = if group == Group::Read as u8 && socket { Group::Receive as u8 } else { group };
    if container.groups & bit(group) == 0 {
        return;
    }
    call.outputs.find(row, &call.event);
    tally::add_call(container.slot, nr, socket, call.outputs.bytes);
    if !container::captures(container) {
        return;
    }
    let Some(numbered) = emit::number_of(task, container.slot, container::takes_turns(container)) else { return };
    match forget(&call.outputs.shape) {
        shape::NONE => numbered.send(&call.event),
        shape::OFFSET => payload::send_offset(numbered, &call.event),
        shape::ONE => payload::send_one(numbered, call),
        _ => {
            if let Some(row) = row {
                payload::capture(numbered, &call.event, row);
            }
        }
    }
}

/// A group's bit.
#[inline(always)]
fn bit(group: u8) -> u32 {
    1 << (group & 31)
}

/// The groups that a call of a row's group can turn out to be of.
#[inline(always)]
fn possible(group: u8) -> u32 {
    if group == Group::Read as u8 { Group::Read.bit() | Group::Receive.bit() } else { bit(group) }
}

#[inline(always)]
fn is_socket(class: u8) -> bool {
    class == Class::Unix as u8 || class == Class::Inet as u8 || class == Class::Socket as u8
}

/// The number of the call whose outputs these are: for `restart_syscall` the one that it continues. The registers are the
/// same, so its arguments are still there.
#[inline(always)]
fn continued(task: Kptr, event: &mut Event) -> i32 {
    let mut nr = event.nr;
    if nr != RESTART_SYSCALL && event.ret != ERESTART_RESTARTBLOCK {
        return nr;
    }
    let host_tid: u32 = load(task, offset!(task_pid));
    if nr == RESTART_SYSCALL {
        let Some(of) = restart::continued(host_tid) else { return nr };
        nr = of;
    }
    if event.ret == ERESTART_RESTARTBLOCK && !restart::keep(host_tid, nr) {
        // Nobody would know what the restarted call writes.
        event.flags |= flags::FAULT;
    }
    nr
}

/// The row of a call, with its choice made.
#[inline(always)]
fn row(nr: i32, event: &Event) -> Option<&'static KRow> {
    let row = ROWS.get(nr as u32)?;
    if row.flags & krow_flags::PRESENT == 0 {
        return None;
    }
    if row.select == NO_SELECT {
        return Some(row);
    }
    let key = choice_key(nr as u16, arg(event, row.select) as u32);
    // SAFETY: nothing is inserted or removed after the programs were attached.
    unsafe { CHOICES.get(key) }.or(Some(row))
}

/// Says what the call's descriptor is.
#[inline(always)]
fn describe(task: Kptr, event: &mut Event, row: &KRow) {
    if row.fd == NO_FD {
        return;
    }
    let fd = if row.fd == FD_RET { event.ret } else { arg(event, row.fd) as i64 };
    let (class, append) = file::class(task, fd as i32);
    event.class = class as u8;
    event.flags |= append;
    if append == 0
        && row.flags & krow_flags::PLAIN != 0
        && let Some(descriptors) = maps::descriptors()
    {
        descriptors.keep(task, fd as u32 as u64, class as u8);
    }
    let source = match event.nr {
        SENDFILE => event.args[1],
        COPY_FILE_RANGE => event.args[0],
        _ => return,
    };
    if file::class(task, source as i32).0 == Class::OwnFile {
        event.flags |= flags::FROM_OWN;
    }
}

/// Argument `index`.
#[inline(always)]
pub fn arg(event: &Event, index: u8) -> u64 {
    event.args[(index & 7) as usize]
}
