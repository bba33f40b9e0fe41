//! The recorder and its ring, shared by all containers of an agent. A ring that fills up holds the containers that fill it.

use super::holds::{Held as HeldTime, Holds};
use super::lease::Ledger;
use crate::probe::serial::Host;
use crate::probe::{Options, ProbeError, Recorder};
use crate::ring::{Drain, DrainOptions, Fill, Programs, RingError};
use crate::sys::cgroup::{Cgroup, Freezer};
use migrate_common::maps::Counters;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why the recorder does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbesError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("the recorder's ring has been taken already")]
    NoRing,
}

type Held = Arc<Mutex<HashMap<u32, Freezer>>>;

/// Recorder and drain.
#[derive(Debug)]
pub struct Probes {
    pub recorder: Arc<Recorder>,
    pub drain: Drain,
    /// The containers whose tasks take turns.
    pub turns: Arc<Host>,
    /// Who is frozen while the ring is too full.
    holdable: Held,
    pub(super) ledger: Ledger,
    holds: Arc<Holds>,
}

impl Probes {
    /// Loads and attaches the programs and starts to drain their ring. `serial_cpus`: as [`Host::new`] says. `clocks`: clock reads need be
    /// no system calls.
    ///
    /// # Errors
    /// Without root, BTF or the eBPF object.
    pub fn load(ring_bytes: u32, serial_cpus: Vec<usize>, clocks: bool) -> Result<Self, ProbesError> {
        let recorder = Arc::new(Recorder::load(Options { ring_bytes, hold: true, clocks, ..Options::default() })?);
        let ring = recorder.take_ring().ok_or(ProbesError::NoRing)?;
        let holdable = Held::default();
        let holds = Arc::new(Holds::default());
        let (counting, holding, account) = (Arc::clone(&recorder), Arc::clone(&holdable), Arc::clone(&holds));
        let drain = Drain::start(
            ring,
            Box::new(Counted(counting)),
            Box::new(move |fill| hold(&holding, &account, fill)),
            DrainOptions::default(),
        )?;
        let turns = Arc::new(Host::new(Arc::clone(&recorder), serial_cpus));
        Ok(Self { recorder, drain, turns, holdable, ledger: Ledger::default(), holds })
    }

    /// A container that may be held while the ring is too full.
    pub fn watch(&self, slot: u32, cgroup: &Cgroup) {
        self.lock().insert(slot, cgroup.freezer());
    }

    /// Leaves a container alone from here on: it is no longer recorded, or frozen for another reason.
    pub fn unwatch(&self, slot: u32) {
        self.lock().remove(&slot);
    }

    /// How often, and for how long, containers have been held: frozen, or single tasks of theirs held by their gate.
    pub fn holds(&self) -> HeldTime {
        let (frozen, tasks) = (self.holds.at(Instant::now()), self.recorder.holds());
        HeldTime { count: frozen.count + tasks.tasks, time: frozen.time + Duration::from_nanos(tasks.held_ns) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Freezer>> {
        self.holdable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot's counters. A program's run that the kernel skipped told no record, and nobody knows whose: the log of each container
/// that was recorded then is taken to lack one, so that each ends.
struct Counted(Arc<Recorder>);

impl Programs for Counted {
    fn counters(&self, slot: u32) -> Result<Counters, ProbeError> {
        let mut counters = self.0.counters(slot)?;
        counters.seq += self.0.missed_runs_of(slot)?;
        Ok(counters)
    }

    fn hand_over(&self) -> Result<(), ProbeError> {
        self.0.hand_over()
    }
}

/// Freezes at the high-water mark, thaws when the ring is empty. Runs on the drain's thread, which empties the ring meanwhile only
/// as far as this returns at once: so it does not wait until the kernel has frozen the last task.
fn hold(holdable: &Held, account: &Holds, fill: Fill) {
    let frozen = matches!(fill, Fill::High { .. });
    if let Fill::High { waiting_bytes, queued_bytes } = fill {
        tracing::warn!(
            waiting_bytes,
            queued_bytes,
            "the ring is filling up: the recorded containers are held until it is drained"
        );
    }
    if frozen {
        account.begin(Instant::now());
    } else {
        account.end(Instant::now());
    }
    for freezer in holdable.lock().unwrap_or_else(PoisonError::into_inner).values() {
        if let Err(error) = freezer.ask(frozen) {
            tracing::warn!(%error, "a container could not be held or let go");
        }
    }
}
