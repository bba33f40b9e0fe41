//! Holding a task before it returns to its own code.
//!
//! A small ring is full before a freezer of userspace's has begun. So the program itself sends its task a signal, which a task
//! takes before it returns to its own code, and which the agent, who traces the task, sees first: it swallows it and lets the
//! task go on when the ring has been drained, or when whatever else [`reason`] says is done. The signal is SIGURG, which does
//! nothing to a task that is traced no longer.

use aya_ebpf::helpers::generated::{bpf_ringbuf_query, bpf_send_signal_thread};

use migrate_common::maps::hold as reason;

use crate::emit;
use crate::kernel::{hold_bytes, load, offset};
use crate::maps::HOLDS;
use crate::task;

/// include/uapi/linux/bpf.h
const BPF_RB_AVAIL_DATA: u64 = 0;
/// include/uapi/asm-generic/signal.h
const SIGURG: u32 = 23;

/// Holds the current task if the ring is filling up and somebody traces it.
#[inline(always)]
pub fn if_filling() {
    // SAFETY: the verifier checks that the map is a ring.
    if unsafe { bpf_ringbuf_query(emit::ring(), BPF_RB_AVAIL_DATA) } < hold_bytes() {
        return;
    }
    send(reason::FILLING);
}

/// Holds the current task if somebody traces it. False: it goes on.
#[inline(always)]
pub fn send(why: u32) -> bool {
    let task = task::current();
    let kept: u64 = load::<u64>(task, offset!(task_blocked)) | load::<u64>(task, offset!(task_pending));
    // A signal that is blocked holds nobody, and one of the program's own that waits would merge with ours.
    if load::<u32>(task, offset!(task_ptrace)) == 0 || kept & (1 << (SIGURG - 1)) != 0 {
        return false;
    }
    let tid: u32 = load(task, offset!(task_pid));
    // SAFETY: the value is not looked at.
    if unsafe { HOLDS.get(tid) }.is_some() || HOLDS.insert(tid, why, 0).is_err() {
        return false;
    }
    // SAFETY: a helper with a number.
    if unsafe { bpf_send_signal_thread(SIGURG) } != 0 {
        let _ = HOLDS.remove(tid);
        return false;
    }
    true
}
