//! Puts a task that computes without a call behind the others of its CPU.
//!
//! One that makes calls is put there by the programs: they hold it behind a call, and the gate lets it go on at once.
//!
//! Where that is the [`places`](super::places) tell; only if the task comes to none it is put there where it stands.
//!
//! The rotor of a CPU asks there, by an interrupt, whether a task keeps others waiting. Only then it goes there itself, with a higher
//! priority: so the programs have just seen the task leave, and know where it stands.

use super::host::Host;
use super::places::Way;
use crate::sys::affinity::{self, CpuSet};
use crate::sys::sched;
use migrate_common::maps::Turn;
use std::sync::Arc;
use std::time::Duration;

/// How long a task may compute without a call while others wait.
const BOUND: Duration = Duration::from_millis(5);
/// How often a task is looked at that is on its way to the place where others come before it.
const LOOK: Duration = Duration::from_millis(2);

/// Starts the rotor of a CPU. It ends when no container is left there.
pub(super) fn start(host: Arc<Host>, cpu: usize) {
    let run = move || {
        let above = host.rise();
        let elsewhere = affinity::of(0).map(|cpus| cpus.without(cpu)).ok().filter(|cpus| !cpus.is_empty());
        let leave = || elsewhere.is_some_and(|cpus| affinity::set(0, &cpus).is_ok());
        leave();
        let mut there = false;
        while let Some(slots) = host.on(cpu) {
            if there
                || elsewhere.is_none()
                || slots.iter().any(|&slot| host.recorder().is_overdue(slot, cpu, BOUND).unwrap_or(true))
            {
                there = there || (above && affinity::set(0, &CpuSet::only(cpu)).is_ok());
                slots.iter().for_each(|&slot| look(&host, slot, there));
            }
            let going = host.places().any(&slots);
            there = there && (going || !leave());
            std::thread::sleep(if going { LOOK } else { BOUND });
        }
    };
    if let Err(error) = std::thread::Builder::new().name(format!("rotor-{cpu}")).spawn(run) {
        tracing::error!(%error, cpu, "no rotor: a task that computes can keep others of its container waiting");
    }
}

/// Puts the slot's task behind the others, if it is due. `there`: the rotor has taken the CPU from it.
fn look(host: &Host, slot: u32, there: bool) {
    if let Ok(turn) = host.recorder().turn(slot)
        && is_due(&turn, now_ns(), there)
        && host.places().lead(slot, &turn) == Way::Here
        && rotate(turn.task.cast_signed())
    {
        host.rotated_in_user_code(slot);
    }
}

/// Whether a turn has lasted too long. `there`: the rotor is itself one of the tasks that could run.
fn is_due(turn: &Turn, now_ns: u64, there: bool) -> bool {
    let others = if there { turn.runnable > 2 } else { true };
    turn.task != 0 && turn.waits == 0 && others && u128::from(now_ns.saturating_sub(turn.since_ns)) >= BOUND.as_nanos()
}

/// A task whose priority rises goes to the end of its queue.
fn rotate(tid: i32) -> bool {
    // One that has left its policy is not ours to move until the gate has mended that.
    sched::is_fifo(tid).unwrap_or(false)
        && sched::set_fifo(tid, sched::TURNS - 1).is_ok()
        && sched::set_fifo(tid, sched::TURNS).is_ok()
}

fn now_ns() -> u64 {
    nix::time::ClockId::CLOCK_MONOTONIC.now().map_or(0, |now| u64::try_from(Duration::from(now).as_nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_task_that_holds_the_cpu_from_others_is_due() {
        let turn = Turn { since_ns: 1_000_000, task: 7, runnable: 3, ..Turn::default() };
        assert!(is_due(&turn, 6_000_000, true));
        assert!(!is_due(&turn, 5_999_999, true), "not yet");
        assert!(!is_due(&Turn { runnable: 2, ..turn }, 9_000_000, true), "nobody waits but the rotor");
        assert!(!is_due(&Turn { waits: 1, ..turn }, 9_000_000, true), "it waits itself");
        assert!(!is_due(&Turn::default(), 9_000_000, true), "nobody has run");
    }
}
