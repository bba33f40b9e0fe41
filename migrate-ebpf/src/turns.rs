//! Tasks that take turns on one CPU: where a task that leaves the CPU stands, and what its calls have to do with it.

use core::ffi::c_void;

use migrate_common::maps::{Container, Turn, hold as reason};
use migrate_common::record::flags;

use crate::emit::Event;
use crate::kernel::{Kptr, load, offset};
use crate::maps::{self, ASKED, EXECS, NOT_IMPLEMENTED, TURNS};
use crate::place::{PLACE_BYTES, WORDS};
use crate::{clock, container, file, hold, task};

/// arch/x86/entry/syscalls/syscall_64.tbl
const MMAP: i32 = 9;
const SHMAT: i32 = 30;
const EXECVE: i32 = 59;
const SCHED_SETPARAM: i32 = 142;
const SCHED_SETSCHEDULER: i32 = 144;
const SCHED_SETAFFINITY: i32 = 203;
const SCHED_SETATTR: i32 = 314;
const EXECVEAT: i32 = 322;
/// include/uapi/linux/mman.h: MAP_SHARED and MAP_SHARED_VALIDATE have this bit, MAP_PRIVATE has not.
const MAP_SHARED: u64 = 1;
const MAP_ANONYMOUS: u64 = 0x20;
/// include/uapi/asm-generic/errno.h
const ENOSYS: i64 = 38;
/// include/linux/errno.h: the first and the last code of calls that go on behind a signal.
const ERESTARTSYS: i64 = 512;
const ERESTART_LAST: i64 = 516;
/// include/linux/sched.h
const PF_EXITING: u32 = 4;

/// How long a task may hold the CPU, in ns, until the next of its calls ends its turn: what the fair class gives, too. Ending it costs
/// a signal, which the program sends by an interrupt, and a stop for the tracer.
const TURN_NS: u64 = 3_000_000;

/// Bytes of the stack that a [`Left`] has behind a call, where the record before it tells the place.
pub const STACK_BYTES: usize = 64;

/// Which memory a [`Left`] has.
pub mod memory {
    /// None: the stack could not be read.
    pub const NONE: u64 = 0;
    pub const STACK: u64 = 1;
    pub const PLACE: u64 = 2;
}

/// How a task left the CPU outside of a call.
#[repr(C)]
pub struct Left {
    pub tid: u32,
    pub host_tid: u32,
    /// [`memory`]
    pub memory: u64,
    pub ip: u64,
    pub sp: u64,
    pub orig_ax: u64,
    /// Not 0: in the middle of reading a clock. What lies below the stack pointer is nobody's then.
    pub reads: u64,
    pub regs: [u64; WORDS],
    pub stack: [u8; STACK_BYTES],
    /// In user code: the segments of [`place`](crate::place).
    pub place: [u8; PLACE_BYTES],
}

/// A call that returned ENOSYS. By its registers alone a task behind it looks like one in it.
#[repr(C)]
pub struct NotImplemented {
    host_tid: u32,
    nr: u32,
    ip: u64,
    sp: u64,
}

/// Whether a task that leaves the CPU is in user code, or on its way back to it. Inside a call it is where its next record, the
/// call's, tells.
#[inline(always)]
pub fn is_outside(task: Kptr, regs: Kptr) -> bool {
    // What comes of a task that ends is told.
    if load::<u32>(task, offset!(task_flags)) & PF_EXITING != 0 {
        return false;
    }
    let orig_ax: i64 = load(regs, offset!(regs_orig_ax));
    // Interrupts and faults store -1, rt_sigreturn does.
    if orig_ax < 0 {
        return true;
    }
    let host_tid: u32 = load(task, offset!(task_pid));
    // The entry stores -ENOSYS, which the result replaces.
    if load::<i64>(regs, offset!(regs_ax)) == -ENOSYS {
        return maps::own(&NOT_IMPLEMENTED, 0).is_some_and(|call| {
            call.host_tid == host_tid
                && call.nr == orig_ax as u32
                && call.ip == load::<u64>(regs, offset!(regs_ip))
                && call.sp == load::<u64>(regs, offset!(regs_sp))
        });
    }
    // SAFETY: the value is not looked at.
    unsafe { EXECS.get(host_tid) }.is_none()
}

/// [`flags::SHARED`] if the call gave its task memory that another can have, too, and that can be written.
#[inline(always)]
pub fn shared(task: Kptr, event: &Event) -> u16 {
    let is = match event.nr {
        MMAP if event.args[3] & MAP_SHARED != 0 && event.ret > 0 => {
            event.args[3] & MAP_ANONYMOUS != 0 || file::is_writable(task, event.args[4] as i32)
        }
        SHMAT => event.ret > 0,
        _ => false,
    };
    if is { flags::SHARED } else { 0 }
}

/// Real-time tasks that can run on the CPU of a task, itself included.
#[inline(always)]
pub fn runnable(task: Kptr) -> u32 {
    let fair: Kptr = load(task, offset!(task_cfs_rq));
    let queue: Kptr = load(fair, offset!(cfs_rq_rq));
    load(queue, offset!(rq_rt_running))
}

/// The call that [`maps::call`] holds has been told: does its task, the current one, go on?
#[inline(always)]
pub fn after_call(container: &Container, task: Kptr) {
    let Some(call) = maps::call() else { return };
    let event = &call.event;
    if event.nr == EXECVE || event.nr == EXECVEAT {
        let _ = EXECS.remove(load::<u32>(task, offset!(task_pid)));
    }
    if !container::holds(container) {
        return note(event);
    }
    if container::asks(container) && is_over(event) {
        // Where it is held for another reason it is asked for again.
        let tid: u32 = load(task, offset!(task_pid));
        if ASKED.remove(tid).is_ok() {
            hold::send(reason::TRACKED);
        }
    }
    if !container::takes_turns(container) {
        if event.flags & flags::SHARED != 0 {
            hold::send(reason::SHARED);
        }
        return;
    }
    note(event);
    if matches!(event.nr, SCHED_SETPARAM | SCHED_SETSCHEDULER | SCHED_SETAFFINITY | SCHED_SETATTR) && event.ret >= 0 {
        hold::send(reason::SCHEDULED);
        return;
    }
    let Some(turn) = TURNS.get_ptr_mut(container.slot) else { return };
    // SAFETY: the tasks of the slot run on this CPU, and so does this program, which is not interrupted by another of ours.
    let turn = unsafe { &mut *turn };
    let now = clock::tick_ns();
    if is_to_be_looked_at(turn, now) {
        turn.looked_ns = now;
        if runnable(task) > 1 && hold::send(reason::ROTATE) {
            turn.since_ns = now;
        }
    }
}

/// Whether a turn has lasted so long that it ends if others wait. That is looked at once a tick: it lies in lines that no cache has. The turn
/// may have begun behind this tick.
#[inline(always)]
pub fn is_to_be_looked_at(turn: &Turn, now: u64) -> bool {
    now.saturating_sub(turn.since_ns) > TURN_NS && now != turn.looked_ns
}

/// Run by userspace on a CPU, in an interrupt there: 1 if the task that runs there is of this slot, others wait, and its turn has lasted for
/// as many ns. Not by aya's macro, whose programs all return 0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp/sys_exit")]
extern "C" fn is_overdue(ctx: *mut c_void) -> i32 {
    let args = ctx.cast::<u64>();
    // SAFETY: the first two of a raw tracepoint's arguments, which the verifier bounds.
    let (slot, ns) = unsafe { (args.read() as u32, args.add(1).read()) };
    let Some(turn) = TURNS.get(slot) else { return 0 };
    if container::interrupted() != Some(slot) {
        return 0;
    }
    let task = task::current();
    // One that was not seen to come will be seen to leave when it is looked at closely, and its turn begins then.
    let unseen = turn.task != load::<u32>(task, offset!(task_pid));
    let lasts = turn.waits == 0 && clock::exact_ns().saturating_sub(turn.since_ns) >= ns;
    let is = (unseen || lasts) && runnable(task) > 1;
    i32::from(is)
}

/// Whether the kernel has done with the call: a signal now makes it neither begin again nor end otherwise.
#[inline(always)]
fn is_over(event: &Event) -> bool {
    !(-ERESTART_LAST..=-ERESTARTSYS).contains(&event.ret)
}

/// Remembers a call that returned ENOSYS.
#[inline(always)]
fn note(event: &Event) {
    if event.ret != -ENOSYS {
        return;
    }
    let (Some(call), regs) = (maps::own(&NOT_IMPLEMENTED, 0), task::registers()) else { return };
    call.host_tid = load(task::current(), offset!(task_pid));
    call.nr = event.nr as u32;
    call.ip = load(regs, offset!(regs_ip));
    call.sp = load(regs, offset!(regs_sp));
}
