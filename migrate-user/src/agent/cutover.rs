//! What crosses the wire at the cut-over beside the last records.

use super::errors::{Failure, text};
use crate::golive::{self, Bytes, FileState, Snapshot, processes};
use crate::inodes::Inodes;
use crate::probe::Recorder;
use crate::replay::live::PendingSignal;
use crate::replay::wait::Wait;
use crate::sys::cgroup::Cgroup;
use crate::sys::ptrace::{self, SIGINFO_BYTES};
use crate::verify::Delta;
use crate::verify::registers::TaskRegisters;
use serde::{Deserialize, Serialize};

/// The frozen source.
#[derive(Debug, Serialize, Deserialize)]
pub struct CutOver {
    /// When it was frozen: CLOCK_MONOTONIC of its host.
    pub frozen_ns: u64,
    pub snapshot: Snapshot,
    /// Waits with a relative timeout.
    pub waits: Vec<Wait>,
    /// Whether programs go on seeing the inode numbers that they know.
    pub inodes: Inodes,
    /// Packets that came while nobody listened.
    pub stragglers: Vec<Bytes>,
}

/// What is compared before a replica goes live.
#[derive(Debug, Serialize, Deserialize)]
pub struct MemoryState {
    pub delta: Delta,
    pub registers: Vec<TaskRegisters>,
}

impl CutOver {
    /// Established connections.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.snapshot.files.iter().filter(|file| matches!(file.state, FileState::Tcp(_))).count() as u64
    }

    /// Signals that wait, in the form that the replica takes.
    #[must_use]
    pub fn signals(&self) -> Vec<PendingSignal> {
        let mut all = Vec::new();
        for task in &self.snapshot.signals {
            for (shared, queue) in [(false, &task.thread), (true, &task.process)] {
                for bytes in queue {
                    let Ok(info) = <[u8; SIGINFO_BYTES]>::try_from(bytes.0.as_slice()) else { continue };
                    all.push(PendingSignal { tid: task.ns_tid.unsigned_abs(), shared, info });
                }
            }
        }
        all
    }
}

/// The waits of a frozen cgroup's tasks that have an end. Some may be over: the log tells.
pub fn waits(recorder: &Recorder, cgroup: &Cgroup) -> Result<Vec<Wait>, Failure> {
    let mut waits = Vec::new();
    for host_tid in cgroup.tasks().map_err(text)? {
        if let Some(restart) = recorder.restart(host_tid.unsigned_abs()).map_err(text)?
            && restart.until_ns != 0
        {
            let ns_tid = ptrace::namespace_tid(host_tid).map_err(text)?;
            waits.push(Wait { tid: ns_tid.unsigned_abs(), nr: restart.nr, until_ns: restart.until_ns });
        }
    }
    Ok(waits)
}

/// The processes of a cgroup, as `golive` names them: each by its task with the lowest number. Zombies have no descriptors and are
/// left out: a process's first task among them, when others go on.
pub fn tasks(cgroup: &Cgroup) -> Result<Vec<golive::Task>, Failure> {
    let mut all = Vec::new();
    for host_pid in cgroup.tasks().map_err(text)? {
        if !ptrace::is_zombie(host_pid).map_err(text)? {
            all.push((ptrace::numbers(host_pid).map_err(text)?, host_pid));
        }
    }
    Ok(processes::one_each(all.into_iter().map(|(numbers, host_pid)| (numbers.tgid, numbers.ns_tid, host_pid))))
}
