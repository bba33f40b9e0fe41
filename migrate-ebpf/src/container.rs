//! Whose task this is.

use migrate_common::maps::{Container, Place, mode, phase};
use migrate_common::record::Kind;
use migrate_common::syscalls::Group;

use crate::kernel::{Kptr, load, offset};
use crate::maps::{self, ASIDE, CONTAINERS, PLACED};
use crate::{tally, task};

/// The current task's container in whatever phase, or none: the first question of every program.
#[inline(always)]
pub fn current() -> Option<*mut Container> {
    of(task::current())
}

/// As [`current`], of any task.
#[inline(always)]
fn of(task: Kptr) -> Option<*mut Container> {
    with_id(cgroup_id(maps::asked()?, task))
}

/// The slot that the current task is recorded in, for a program that interrupts others: it leaves what they keep for each other alone.
#[inline(always)]
pub fn interrupted() -> Option<u32> {
    let (_, cgroup) = cgroup(task::current());
    // SAFETY: as in `recording_of`.
    with_id(id_of(cgroup)).map(|container| unsafe { (*container).slot })
}

/// The container of a cgroup.
#[inline(always)]
fn with_id(id: u64) -> Option<*mut Container> {
    let place = PLACED.get_ptr_mut(Place::of(id))?;
    // SAFETY: a value of an array, which lives as long as the program; userspace writes the id whole, and last.
    match unsafe { (&raw const (*place).cgroup_id).read_volatile() } {
        Place::NOBODY => None,
        own if own == id => Some(unsafe { &raw mut (*place).container }),
        _ => CONTAINERS.get_ptr_mut(id),
    }
}

/// Which cgroup a CPU was last asked for.
#[repr(C)]
pub struct Asked {
    set: u64,
    cgroup: u64,
    id: u64,
}

/// The id of a task's cgroup: what bpf_get_current_cgroup_id reads, without the call, which would be made for every system call of the
/// machine. What leads to the id lies in lines that no cache has; so the last answer is kept. An address can come to be another set's or
/// another cgroup's only when all tasks of the old one are gone; that both do at once, and for a container that is still recorded, would
/// take a new container on the old one's memory before the agent has heard of the old one's end, which nobody's log has anything behind.
#[inline(always)]
fn cgroup_id(asked: &mut Asked, task: Kptr) -> u64 {
    let (set, cgroup) = cgroup(task);
    if asked.set != set as u64 || asked.cgroup != cgroup as u64 {
        *asked = Asked { set: set as u64, cgroup: cgroup as u64, id: id_of(cgroup) };
    }
    asked.id
}

/// A task's set of cgroups, and its cgroup.
#[inline(always)]
fn cgroup(task: Kptr) -> (Kptr, Kptr) {
    let set: Kptr = load(task, offset!(task_cgroups));
    (set, load(set, offset!(css_set_cgroup)))
}

#[inline(always)]
fn id_of(cgroup: Kptr) -> u64 {
    let node: Kptr = load(cgroup, offset!(cgroup_kn));
    load(node, offset!(kernfs_node_id))
}

/// The current task's container, if it is being recorded.
#[inline(always)]
pub fn recording() -> Option<Container> {
    recording_of(task::current())
}

/// As [`recording`], of any task.
#[inline(always)]
pub fn recording_of(task: Kptr) -> Option<Container> {
    // SAFETY: a value of a map without deletion under us: the kernel frees it after the program has ended.
    let container = unsafe { of(task)?.read() };
    (container.phase == phase::RECORDING).then_some(container)
}

/// The slot to make a record in of something that is no system call; it is tallied here.
#[inline(always)]
pub fn wants(container: &Container, kind: Kind, group: Group) -> Option<u32> {
    if container.groups & group.bit() == 0 {
        return None;
    }
    tally::add_kind(container.slot, kind);
    captures(container).then_some(container.slot)
}

/// Whether records are made, and not only counts.
#[inline(always)]
pub fn captures(container: &Container) -> bool {
    container.mode & mode::CAPTURE != 0
}

/// The container of any task, if its tasks take turns: asked at every switch of the machine while there is one. A task that the agent has
/// set aside is a stranger's for as long.
#[inline(always)]
pub fn serial(task: Kptr) -> Option<Container> {
    recording_of(task).filter(|container| takes_turns(container) && !is_aside(container, task))
}

/// Whether a task of the container makes calls that are the agent's: then they are nothing to the container, and no replica makes them.
#[inline(always)]
pub fn is_aside(container: &Container, task: Kptr) -> bool {
    if container.mode & mode::ASIDE == 0 {
        return false;
    }
    // SAFETY: the value is not looked at.
    unsafe { ASIDE.get(load::<u32>(task, offset!(task_pid))) }.is_some()
}

/// Whether the agent has asked for some tasks.
#[inline(always)]
pub fn asks(container: &Container) -> bool {
    container.mode & mode::ASKS != 0
}

/// Whether its tasks take turns on one CPU.
#[inline(always)]
pub fn takes_turns(container: &Container) -> bool {
    container.mode & mode::SERIAL != 0
}

/// Whether tasks may be held that fill the ring.
#[inline(always)]
pub fn holds(container: &Container) -> bool {
    container.mode & mode::HOLD != 0
}
