//! Of tasks.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

use crate::kernel::{Kptr, load, offset, read};

/// The current task.
#[inline(always)]
pub fn current() -> Kptr {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_get_current_task_btf() }) as Kptr
}

/// The current task's registers as it entered the kernel.
#[inline(always)]
pub fn registers() -> Kptr {
    registers_of(current())
}

/// A task's registers as it entered the kernel.
#[inline(always)]
pub fn registers_of(task: Kptr) -> Kptr {
    // SAFETY: callers pass a task that the verifier knows to be one.
    (unsafe { bpf_task_pt_regs(task.cast_mut().cast()) }) as Kptr
}

/// A task's number in its own pid namespace, and how deep that is: 0 is the host's.
#[derive(Clone, Copy)]
pub struct Tid {
    pub nr: u32,
    pub level: u32,
}

/// How the task's own pid namespace numbers it.
#[inline(always)]
pub fn tid(task: Kptr) -> Tid {
    let pid: Kptr = load(task, offset!(task_thread_pid));
    let level: u32 = load(pid, offset!(pid_level));
    let first = offset!(pid_numbers) + offset!(upid_nr);
    // `numbers` has `level + 1` entries, a length that BTF does not know: direct loads only at constant offsets, for the depths
    // that containers have, one and two below the host.
    let nr = match level {
        0 => load(pid, first),
        1 => load(pid, first + offset!(upid_bytes)),
        2 => load(pid, first + 2 * offset!(upid_bytes)),
        _ => read(pid, first + level as usize * offset!(upid_bytes)),
    };
    Tid { nr, level }
}

/// The same for the leader of the task's thread group.
#[inline(always)]
pub fn tgid(task: Kptr) -> u32 {
    let leader: Kptr = load(task, offset!(task_group_leader));
    tid(leader).nr
}
