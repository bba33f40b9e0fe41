//! Clock reads without a call ([`migrate_common::clocks`]): told before whatever else their task is seen to do.
//!
//! The process counts its readings and keeps the last of them where they can be read. What of them has been told is known by the memory that they
//! lie in: threads have one log, and so has a child in vfork with its parent.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use migrate_common::clocks::{
    ARITHMETIC_FLAGS, BEGIN_FLAGS, CODE, FRAME_BYTES, Frame, LOG, Log, MAGIC, OWN, Own, SLOTS, STACK_WORDS,
};
use migrate_common::maps::{Container, mode};
use migrate_common::record::{HEADER_BYTES, Header, Kind, SEGMENT_BYTES, flags};

use crate::emit::{self, Event};
use crate::kernel::{Kptr, load, offset, read_user};
use crate::maps::{self, CLOCKS, STACK};
use crate::turns::Left;
use crate::{batch, container, task};

/// Bytes of a record, which has the whole log.
const RECORD_BYTES: usize = HEADER_BYTES + SEGMENT_BYTES + 8 * SLOTS;
const LOG_HEAD_BYTES: u64 = core::mem::offset_of!(Log, answers) as u64;

/// The stack of a task that leaves the CPU.
pub type Stack = [u64; STACK_WORDS];

/// Whether processes of the container may have logs.
#[inline(always)]
fn has_logs(container: &Container) -> bool {
    container.mode & mode::CLOCKS != 0
}

/// Readings of the current task's process; none if it has no log.
#[inline(always)]
fn count() -> Option<u64> {
    let [magic, count]: [u64; 2] = read_user(LOG)?;
    (magic == MAGIC).then_some(count)
}

/// A call of the current task returns, and is about to be told.
///
/// To look at the log for each call would cost more than a quarter of what a record does. Where tasks take turns, and their records wait on
/// their CPU for others, the record of readings is begun before the first of them and gets its answers when they are handed over, when the task
/// leaves, or when the log is full, which a call of the log's own code says: so nobody has to look before.
#[inline(always)]
pub fn before_call(container: &Container, task: Kptr, ip: u64) {
    if !has_logs(container) {
        return;
    }
    if !container::takes_turns(container) {
        return tell(container, task);
    }
    // A call of the log's own: its record comes before the readings behind it.
    if ip.wrapping_sub(CODE) < LOG - CODE {
        tell_all(container.slot, how::WAITS | how::ENDS);
        return;
    }
    if !batch::expects(container.slot, load(task, offset!(task_mm))) {
        begin_readings(container.slot);
    }
}

/// How readings are told.
mod how {
    /// Their record may wait with others.
    pub const WAITS: u32 = 1;
    /// Later ones need another record.
    pub const ENDS: u32 = 2;
}

/// Tells what the current task's process has read since it was last told.
#[inline(always)]
pub fn tell(container: &Container, task: Kptr) {
    if has_logs(container) && load::<u64>(task, offset!(task_mm)) != 0 {
        tell_all(container.slot, if container::takes_turns(container) { how::WAITS } else { 0 });
    }
}

/// Tells what has not been told, if there is any. A function that is known to the verifier by its type, and that it looks at once: not for each
/// way in which its callers can come here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_all(slot: u32, how: u32) -> u64 {
    let task = task::current();
    let mm: u64 = load(task, offset!(task_mm));
    let Some(count) = count() else { return 0 };
    let is_new = untold(mm, count) != 0;
    if how & how::WAITS != 0 {
        let begun = batch::expects(slot, mm);
        if is_new && !begun {
            begin_readings(slot);
        }
        if is_new || how & how::ENDS != 0 {
            batch::fill(mm);
        }
        return 0;
    }
    if !is_new {
        return 0;
    }
    let Some(numbered) = emit::number_of(task, slot, false) else { return 0 };
    let mut event = Event::new(Kind::Clocks, [0; 6]);
    let entry = emit::reserve(RECORD_BYTES as u64);
    if entry.is_null() {
        numbered.account(false, 0);
        return 0;
    }
    // SAFETY: the ring gave `RECORD_BYTES` bytes, 8-byte aligned.
    unsafe {
        entry.cast::<Header>().write(numbered.header(&event, RECORD_BYTES));
        event.flags = fill(entry, mm);
    }
    numbered.submit(entry, RECORD_BYTES, RECORD_BYTES, event.flags);
    0
}

/// Begins a record of readings among those that wait on this CPU, if the current task's process has a log.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begin_readings(slot: u32) -> u64 {
    let task = task::current();
    let mm: u64 = load(task, offset!(task_mm));
    batch::expect(slot, mm, 0);
    if count().is_none() {
        return 0;
    }
    let Some(numbered) = emit::number_of(task, slot, true) else { return 0 };
    let event = Event::new(Kind::Clocks, [0; 6]);
    let Some((entry, at)) = batch::begin_at(slot) else {
        numbered.account(false, 0);
        return 0;
    };
    // SAFETY: there is room for any small record, 8-byte aligned.
    unsafe {
        entry.cast::<Header>().write(numbered.header(&event, RECORD_BYTES));
        let segment = entry.add(HEADER_BYTES).cast::<u64>();
        segment.write(0);
        segment.add(1).write(8 * SLOTS as u64);
    }
    numbered.end_batched(RECORD_BYTES, 0);
    batch::expect(slot, mm, at + 1);
    0
}

/// Writes the answers that have not been told into the record at `entry`, all slots of the log with them. The record's flags, which it has too.
///
/// # Safety
/// There are [`RECORD_BYTES`] at `entry`, 8-byte aligned.
#[inline(always)]
pub unsafe fn fill(entry: *mut u8, mm: u64) -> u16 {
    let mut flags = 0;
    // SAFETY: all of it lies within the record's bytes; the helper checks the address.
    unsafe {
        let answers = entry.add(HEADER_BYTES + SEGMENT_BYTES);
        entry.add(HEADER_BYTES).cast::<[u64; 2]>().write([0, 8 * SLOTS as u64]);
        if bpf_probe_read_user(answers.cast(), 8 * SLOTS as u32, (LOG + LOG_HEAD_BYTES) as *const _) != 0 {
            flags = flags::FAULT;
        }
        let count = count().unwrap_or(0);
        let first = told(mm, count);
        if count.wrapping_sub(first) > SLOTS as u64 {
            // That cannot be, and ends the log.
            flags |= flags::TOO_LARGE;
        }
        if let Some(answer) = pending(task::current()) {
            let at = count.wrapping_sub(1) as usize & (SLOTS - 1);
            answers.cast::<u64>().add(at).write(answer);
        }
        let head = entry.cast::<Header>();
        (*head).flags = flags;
        (*head).args[0] = first;
        (*head).args[1] = count;
    }
    flags
}

/// The answer of a task that stands, in user code, between taking a number for it and putting it into its slot: the last number's.
#[inline(always)]
fn pending(task: Kptr) -> Option<u64> {
    let regs = task::registers_of(task);
    if load::<i64>(regs, offset!(regs_orig_ax)) >= 0 {
        return None;
    }
    let own: Own = read_user(OWN)?;
    own.has_taken(load(regs, offset!(regs_ip))).then(|| load(regs, offset!(regs_ax)))
}

/// How many readings have not been told.
#[inline(always)]
fn untold(mm: u64, count: u64) -> u64 {
    // SAFETY: as in `told`.
    let told = unsafe { CLOCKS.get(mm) }.copied().unwrap_or(0);
    count.wrapping_sub(told)
}

/// How many readings of the log in this memory had been told, and that now all have.
#[inline(always)]
fn told(mm: u64, count: u64) -> u64 {
    if let Some(told) = CLOCKS.get_ptr_mut(mm) {
        // SAFETY: the value of a map; tasks that share the memory take turns, or there is one.
        return unsafe { core::mem::replace(&mut *told, count) };
    }
    // One that nobody knows of has read nothing yet; where that is wrong, or cannot be kept, the log ends.
    if CLOCKS.insert(mm, count, 0).is_ok() { 0 } else { u64::MAX }
}

/// The current task's memory is a new image's.
#[inline(always)]
pub fn new_image(container: &Container, task: Kptr) {
    if has_logs(container) {
        let mm: u64 = load(task, offset!(task_mm));
        batch::forget(mm);
        let _ = CLOCKS.insert(mm, 0, 0);
    }
}

/// The current task has made one with a copy of its memory: what it has read is told.
#[inline(always)]
pub fn copied(container: &Container, parent: Kptr, child: Kptr) {
    if !has_logs(container) {
        return;
    }
    let (of_parent, of_child): (u64, u64) = (load(parent, offset!(task_mm)), load(child, offset!(task_mm)));
    if of_parent != of_child {
        batch::forget(of_child);
        if let Some(count) = count() {
            let _ = CLOCKS.insert(of_child, count, 0);
        }
    }
}

/// The current task leaves its memory, which what it has read there was told of: for a new image, or for good. The kernel may give its
/// address to another memory as soon as it is gone.
#[inline(always)]
pub fn end(container: &Container, task: Kptr) {
    let mm: Kptr = load(task, offset!(task_mm));
    batch::forget(mm as u64);
    if has_logs(container) && !mm.is_null() && load::<u32>(mm, offset!(mm_users)) == 1 {
        let _ = CLOCKS.remove(mm as u64);
    }
}

/// A task leaves the CPU in user code. If that is in the middle of a reading, it is told as one that begins it.
#[inline(always)]
pub fn place(container: &Container, left: &mut Left) {
    if !has_logs(container) || count().is_none() {
        return;
    }
    let Some(own) = read_user::<Own>(OWN).filter(|own| own.reads(left.ip)) else { return };
    let Some(stack) = maps::own(&STACK, 0) else { return };
    // SAFETY: the helper checks the address, and writes as many bytes as there are.
    let failed = unsafe { bpf_probe_read_user(stack.as_mut_ptr().cast(), size_of::<Stack>() as u32, left.sp as *const _) };
    if failed == 0
        && let Some(at) = own.frame(stack)
        && at < STACK_WORDS - WORDS
    {
        // SAFETY: that many words are there, as the verifier sees.
        let frame = unsafe { stack.as_ptr().add(at).cast::<Frame>().read() };
        begin_instead(left, &own, left.sp + 8 * at as u64, &frame);
    }
}

/// Words of a frame.
const WORDS: usize = FRAME_BYTES as usize / 8;

#[inline(always)]
fn begin_instead(left: &mut Left, own: &Own, sp: u64, frame: &Frame) {
    let Frame { r8, rdi, r15, r14, r13, r12, rbx } = *frame;
    let [.., orig_ax, _, cs, eflags, _, ss] = left.regs;
    let eflags = eflags & !ARITHMETIC_FLAGS | BEGIN_FLAGS;
    let rbp = sp.wrapping_add(FRAME_BYTES);
    (left.ip, left.sp) = (own.begin, sp);
    left.regs = [r15, r14, r13, r12, rbp, rbx, 0, 0, 0, r8, 0, 0, 0, 0, rdi, orig_ax, own.begin, cs, eflags, sp, ss];
    left.reads = 1;
}
