//! Where in user code a task is put behind the others.
//!
//! Its replica has to stop at the very instruction, at the right one of all the times that it runs. So the place is not left to chance: a
//! breakpoint lets the task go on by a few instructions to one in whose place a jump can lie, which a replica counts by itself, or
//! else to a return of one of its functions, which comes seldom. There it stops for the gate, and that is what puts it behind the others.
//!
//! To stop it before would take the CPU from it where it is. But while the rotor, which is on the same CPU, looks at it, it has left
//! the CPU to nobody of its container; and breakpoints of this kind do not need a stop.

use crate::displace::Text;
use crate::probe::gate::returns;
use crate::sys::breakpoint::Breakpoint;
use crate::sys::ptrace::Pid;
use crate::sys::signals::SignalSets;
use migrate_common::maps::Turn;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a task may take to a place near, from which a jump can be laid.
const NEAR_BOUND: Duration = Duration::from_millis(2);
/// The same to a return of a function of its: where nothing else is near, a replica pays for each turn of the loop that it is in.
const RETURN_BOUND: Duration = Duration::from_millis(20);
/// After this long nobody waits for a place any more.
const STALE: Duration = Duration::from_millis(50);
/// How many instructions the places near are remembered of.
const REMEMBERED: usize = 4096;
const SIGTRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

/// What a task that is to be put behind the others does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is on its way to a place.
    OnIts,
    /// It is to be put there where it stands.
    Here,
}

/// A task that is on its way.
#[derive(Debug)]
struct Going {
    slot: u32,
    _breakpoints: Vec<Breakpoint>,
    since: Instant,
    bound: Duration,
}

/// The tasks of a machine that are on their way to a place.
#[derive(Debug, Default)]
pub(super) struct Places {
    going: Mutex<HashMap<Pid, Going>>,
    /// (slot, instruction) -> places near. Where other code lies meanwhile a breakpoint is in vain, and no more.
    near: Mutex<HashMap<(u32, u64), Vec<u64>>>,
}

impl Places {
    /// The task whose turn it is has held the CPU for too long. The caller must be on that CPU, and have taken it from the task.
    pub(super) fn lead(&self, slot: u32, turn: &Turn) -> Way {
        let pid = turn.task.cast_signed();
        if let Some(going) = lock(&self.going).get(&pid) {
            if going.since.elapsed() < going.bound {
                return Way::OnIts;
            }
        } else if turn.left == turn.task
            && turn.ip != 0
            && let Some(going) = self.begin(slot, pid, turn)
        {
            lock(&self.going).insert(pid, going);
            return Way::OnIts;
        }
        lock(&self.going).remove(&pid);
        Way::Here
    }

    fn begin(&self, slot: u32, pid: Pid, turn: &Turn) -> Option<Going> {
        let near = self.near(slot, pid, turn.ip);
        // A trap that is blocked would come late.
        if near.contains(&turn.ip) || SignalSets::of(pid).ok()?.blocked & SIGTRAP_BIT != 0 {
            return None;
        }
        let (places, bound) = if near.is_empty() { (returns(pid, turn.sp), RETURN_BOUND) } else { (near, NEAR_BOUND) };
        let breakpoints: Vec<_> = places.into_iter().map_while(|addr| Breakpoint::set(pid, addr).ok()).collect();
        (!breakpoints.is_empty()).then(|| Going { slot, _breakpoints: breakpoints, since: Instant::now(), bound })
    }

    /// Places that a task at `ip` comes to soon.
    fn near(&self, slot: u32, pid: Pid, ip: u64) -> Vec<u64> {
        let known = lock(&self.near).get(&(slot, ip)).cloned();
        known.unwrap_or_else(|| {
            let found = Text::around(pid, ip).map(|text| text.near(ip)).unwrap_or_default();
            let mut near = lock(&self.near);
            if near.len() >= REMEMBERED {
                near.clear();
            }
            near.insert((slot, ip), found.clone());
            found
        })
    }

    /// A task stands at a breakpoint. True: it was on its way, and has come to its place.
    pub(super) fn arrived(&self, pid: Pid) -> bool {
        lock(&self.going).remove(&pid).is_some()
    }

    /// Whether somebody of these slots is on the way; those that have been for long are not any more.
    pub(super) fn any(&self, slots: &[u32]) -> bool {
        let mut going = lock(&self.going);
        going.retain(|_, going| going.since.elapsed() < STALE);
        going.values().any(|going| slots.contains(&going.slot))
    }

    /// The tasks of a slot take turns no longer.
    pub(super) fn forget(&self, slot: u32) {
        lock(&self.going).retain(|_, going| going.slot != slot);
        lock(&self.near).retain(|(of, _), _| *of != slot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep").arg("10").spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_task_behind_a_call_or_that_nobody_saw_leave_is_put_behind_where_it_is() {
        let places = Places::default();
        let behind_a_call = Turn { task: 7, left: 7, ..Turn::default() };
        assert_eq!(places.lead(0, &behind_a_call), Way::Here);
        let unseen = Turn { task: 7, left: 0, ip: 0x1000, ..Turn::default() };
        assert_eq!(places.lead(0, &unseen), Way::Here);
        assert!(!places.any(&[0]));
    }

    #[test]
    fn a_task_without_code_or_stack_to_look_at_is_put_behind_where_it_is() {
        let child = sleeper();
        let task = child.id();
        let nowhere = Turn { task, left: task, ip: 0x10, sp: 0x20, ..Turn::default() };
        assert_eq!(Places::default().lead(0, &nowhere), Way::Here);
        end(child);
    }

    #[test]
    fn a_task_on_its_way_stays_that_until_it_arrives_or_its_container_takes_turns_no_longer() {
        let (places, pid) = (Places::default(), 7);
        let going = |slot| Going { slot, _breakpoints: Vec::new(), since: Instant::now(), bound: Duration::from_secs(60) };
        let turn = Turn { task: 7, left: 7, ip: 0x1000, ..Turn::default() };
        lock(&places.going).insert(pid, going(3));
        assert_eq!(places.lead(3, &turn), Way::OnIts);
        assert!(places.any(&[2, 3]) && !places.any(&[2]));
        assert!(places.arrived(pid) && !places.arrived(pid));
        lock(&places.going).insert(pid, going(3));
        places.forget(3);
        assert!(!places.arrived(pid));
    }

    #[test]
    fn a_task_that_comes_to_no_place_in_time_is_put_behind_where_it_is() {
        let places = Places::default();
        lock(&places.going).insert(7, Going { slot: 3, _breakpoints: Vec::new(), since: Instant::now(), bound: Duration::ZERO });
        assert_eq!(places.lead(3, &Turn { task: 7, left: 7, ip: 0x1000, ..Turn::default() }), Way::Here);
        assert!(!places.any(&[3]));
    }
}
