//! Whose task this is.

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use migrate_common::maps::{Container, Counters, phase};

use crate::maps::{self, CONTAINERS, COUNTERS};

/// The current task's container in whatever phase, or none: the first question of every program.
#[inline(always)]
pub fn current() -> Option<*mut Container> {
    // SAFETY: a helper without arguments.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    CONTAINERS.get_ptr_mut(cgroup)
}

/// The slot of the current task's container, if it is being recorded.
#[inline(always)]
pub fn recording() -> Option<u32> {
    // SAFETY: a value of a map without deletion under us: the kernel frees it after the program has ended.
    let container = unsafe { current()?.read() };
    (container.phase == phase::RECORDING).then_some(container.slot)
}

/// This CPU's counters of a slot.
#[inline(always)]
pub fn counters(slot: u32) -> Option<&'static mut Counters> {
    maps::own(&COUNTERS, slot)
}
