//! What crosses the wire at the cut-over beside the last records.

use super::errors::{Failure, text};
use crate::golive::{self, Bytes, FileState, Snapshot};
use crate::probe::{ProbeError, Recorder};
use crate::replay::live::PendingSignal;
use crate::replay::wait::Wait;
use crate::sys::ptrace::SIGINFO_BYTES;
use serde::{Deserialize, Serialize};

/// The frozen source.
#[derive(Debug, Serialize, Deserialize)]
pub struct CutOver {
    /// When it was frozen: CLOCK_MONOTONIC of its host.
    pub frozen_ns: u64,
    pub snapshot: Snapshot,
    /// Waits with a relative timeout.
    pub waits: Vec<Wait>,
    /// Packets that came while nobody listened.
    pub stragglers: Vec<Bytes>,
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

/// The waits of frozen tasks that have an end. Some may be over: the log tells.
pub fn waits(recorder: &Recorder, tasks: &[golive::Task]) -> Result<Vec<Wait>, ProbeError> {
    let mut waits = Vec::new();
    for task in tasks {
        if let Some(restart) = recorder.restart(task.host_pid.unsigned_abs())?
            && restart.until_ns != 0
        {
            waits.push(Wait { tid: task.ns_tid.unsigned_abs(), nr: restart.nr, until_ns: restart.until_ns });
        }
    }
    Ok(waits)
}

/// The processes of a cgroup, as `golive` names them. Zombies have no descriptors and are left out.
pub fn tasks(cgroup: &crate::sys::cgroup::Cgroup) -> Result<Vec<golive::Task>, Failure> {
    let pids = cgroup.processes().map_err(text)?;
    let mut tasks = Vec::new();
    for host_pid in pids {
        let is_zombie = std::fs::read_to_string(format!("/proc/{host_pid}/stat"))
            .map_err(text)?
            .rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
        if !is_zombie {
            let ns_tid = crate::sys::ptrace::namespace_tid(host_pid).map_err(text)?;
            tasks.push(golive::Task { ns_tid, host_pid });
        }
    }
    tasks.sort_by_key(|task| task.ns_tid);
    Ok(tasks)
}
