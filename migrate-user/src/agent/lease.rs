//! A container's slot in the recorder, held for as long as its log goes on.

use super::probes::Probes;
use crate::probe::ProbeError;
use crate::sys::cgroup::Cgroup;
use migrate_common::maps::Counters;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Gives the slot back once: when the log ends, or when it is dropped. Slots are used again, so that giving one back twice would
/// end the recording of another container.
#[derive(Debug)]
pub struct Lease {
    probes: Arc<Probes>,
    slot: u32,
    ended: AtomicBool,
}

impl Lease {
    /// Begins to record a cgroup. It is held while the ring is too full.
    ///
    /// # Errors
    /// As [`Recorder::add`](crate::probe::Recorder::add).
    pub fn begin(probes: &Arc<Probes>, cgroup: &Cgroup, cgroup_id: u64) -> Result<Self, ProbeError> {
        let slot = probes.ledger.with(|ledger| {
            let slot = probes.recorder.add(cgroup_id)?;
            ledger.live.insert(slot);
            Ok::<_, ProbeError>(slot)
        })?;
        probes.watch(slot, cgroup);
        Ok(Self { probes: Arc::clone(probes), slot, ended: AtomicBool::new(false) })
    }

    #[must_use]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// Whether the slot is still the container's.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    /// The programs leave the container alone from here on.
    pub fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let Self { probes, slot, .. } = self;
        probes.unwatch(*slot);
        probes.ledger.with(|ledger| {
            // The counters stay what they are until the slot is used again, which needs this lock.
            drop(probes.recorder.remove(*slot));
            if ledger.live.remove(slot)
                && let Ok(counters) = probes.recorder.counters(*slot)
            {
                ledger.past.add(&counters);
            }
        });
        drop(probes.drain.remove_sink(*slot));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}

/// What all containers of an agent have lost, those that are gone included: a loss ends a log, and its counters with it.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    live: HashSet<u32>,
    past: Losses,
}

/// Records that were not emitted, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    pub ring_full: u64,
    pub too_large: u64,
    pub faults: u64,
}

impl Losses {
    const fn add(&mut self, counters: &Counters) {
        self.ring_full += counters.ring_full;
        self.too_large += counters.too_large;
        self.faults += counters.faults;
    }
}

impl Ledger {
    fn with<T>(&self, f: impl FnOnce(&mut Entries) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Probes {
    /// Losses since the agent started; they never fall.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn losses(&self) -> Result<Losses, ProbeError> {
        self.ledger.with(|ledger| {
            ledger.live.iter().try_fold(ledger.past, |mut sum, &slot| {
                sum.add(&self.recorder.counters(slot)?);
                Ok(sum)
            })
        })
    }
}
