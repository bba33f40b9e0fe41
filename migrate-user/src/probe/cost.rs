//! What the programs cost, as the kernel measures it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use super::{ProbeError, Recorder};
use crate::sys::bpf::{self, ProgramStats};

/// Runs of one program since it was loaded, while [`BpfStats`] was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// The hook.
    pub name: &'static str,
    /// Runs for whatever task of the machine: of most programs nearly all end at the first question, whose task it is.
    pub runs: u64,
    /// Wall time of these runs.
    pub run_time_ns: u64,
}

/// As long as this lives the kernel measures the runs of all programs on the machine, as `kernel.bpf_stats_enabled` makes it.
/// Ends with the process at the latest.
#[derive(Debug)]
pub struct BpfStats {
    _fd: OwnedFd,
}

impl BpfStats {
    /// Begins to measure. It costs each run of any program some 20 ns.
    ///
    /// # Errors
    /// [`ProbeError::Io`] on a kernel before 5.8.
    pub fn enable() -> Result<Self, ProbeError> {
        Ok(Self { _fd: bpf::enable_stats().map_err(ProbeError::io("switching on the kernel's statistics of eBPF programs"))? })
    }
}

/// By slot: runs that had been missed when it was taken into use. None of these was for its container.
#[derive(Debug, Default)]
pub(super) struct MissedBefore(Mutex<HashMap<u32, u64>>);

impl MissedBefore {
    /// A slot begins anew, with `total` runs missed since the programs were loaded.
    pub(super) fn begin(&self, slot: u32, total: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, total);
    }

    /// Of `total` runs, those since the slot began.
    fn since(&self, slot: u32, total: u64) -> u64 {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&slot).copied();
        total.saturating_sub(before.unwrap_or(0))
    }
}

impl Recorder {
    /// What the programs have cost. Numbers stand still while no [`BpfStats`] lives.
    ///
    /// # Errors
    /// [`ProbeError::Io`] if the kernel does not tell.
    pub fn costs(&self) -> Result<Vec<ProgramCost>, ProbeError> {
        let cost = |name| {
            let stats = self.stats(name)?;
            Ok(ProgramCost { name, runs: stats.runs, run_time_ns: stats.run_time_ns })
        };
        self.names().map(cost).collect()
    }

    /// Runs of programs that the kernel skipped because one was running on the CPU already. Such a run numbers no record: any
    /// number above 0 means that records are missing, of whatever container.
    ///
    /// # Errors
    /// [`ProbeError::Io`] if the kernel does not tell.
    pub fn missed_runs(&self) -> Result<u64, ProbeError> {
        self.names().map(|name| Ok(self.stats(name)?.missed)).sum()
    }

    /// As [`Recorder::missed_runs`], since the slot was taken into use: any number above 0 means that its container may lack
    /// records.
    ///
    /// # Errors
    /// [`ProbeError::Io`] if the kernel does not tell.
    pub fn missed_runs_of(&self, slot: u32) -> Result<u64, ProbeError> {
        Ok(self.missed_before().since(slot, self.missed_runs()?))
    }

    fn stats(&self, name: &'static str) -> Result<ProgramStats, ProbeError> {
        bpf::program_stats(self.program_fd(name)?.as_fd()).map_err(ProbeError::io(format!("asking about the program {name}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_lacks_only_the_runs_that_were_missed_since_it_began() {
        let missed = MissedBefore::default();
        missed.begin(1, 0);
        assert_eq!(missed.since(1, 3), 3);
        missed.begin(2, 3);
        assert_eq!((missed.since(1, 3), missed.since(2, 3)), (3, 0), "a container that starts after a miss lacks nothing");
        missed.begin(1, 3);
        assert_eq!((missed.since(1, 4), missed.since(2, 4)), (1, 1), "a slot that is used again begins anew");
    }
}
