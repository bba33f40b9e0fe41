//! Calls of the agent's that tasks of a recorded container make in their own name: what the programs are told of them.
//!
//! A task that is *set aside* makes calls that no replica makes. For as long its calls leave no record, and where the container's tasks take
//! turns it counts as a stranger: whatever it does then is nothing to the container, as if another program had the CPU. Its end is
//! recorded all the same.

use std::sync::{Arc, PoisonError};

use aya::maps::{HashMap, Map, MapData};
use migrate_common::maps::mode;

use super::recorder::map_error;
use super::{ProbeError, Recorder};

/// The maps: tasks by their number on the host, with their slot.
pub(super) struct Asides {
    aside: HashMap<MapData, u32, u32>,
    asked: HashMap<MapData, u32, u32>,
}

impl Asides {
    pub(super) fn new(aside: MapData, asked: MapData) -> Result<Self, ProbeError> {
        let aside = HashMap::try_from(Map::HashMap(aside)).map_err(map_error("ASIDE"))?;
        let asked = HashMap::try_from(Map::HashMap(asked)).map_err(map_error("ASKED"))?;
        Ok(Self { aside, asked })
    }

    fn is_any_aside(&self, slot: u32) -> bool {
        self.aside.iter().flatten().any(|(_, of)| of == slot)
    }
}

/// A task that is set aside, until this is dropped. It must stand still then, as it did when this was made.
#[derive(Debug)]
pub struct Aside {
    recorder: Arc<Recorder>,
    slot: u32,
    host_tid: u32,
}

impl Aside {
    /// Sets a task aside that stands still for its tracer, and has left the CPU: any ptrace request that it answered says so.
    ///
    /// # Errors
    /// [`ProbeError::NoSuchSlot`], [`ProbeError::Map`].
    pub fn set(recorder: &Arc<Recorder>, slot: u32, host_tid: u32) -> Result<Self, ProbeError> {
        let mut asides = recorder.asides().lock().unwrap_or_else(PoisonError::into_inner);
        asides.aside.insert(host_tid, slot, 0).map_err(map_error("ASIDE"))?;
        drop(asides);
        // What follows undoes the first step if the second fails.
        let aside = Self { recorder: Arc::clone(recorder), slot, host_tid };
        recorder.change(slot, |container| container.mode |= mode::ASIDE)?;
        Ok(aside)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let mut asides = self.recorder.asides().lock().unwrap_or_else(PoisonError::into_inner);
        // It can fail for an entry alone that is not there.
        drop(asides.aside.remove(&self.host_tid));
        if !asides.is_any_aside(self.slot) {
            // Of a slot that has been given back nothing is recorded at all.
            drop(self.recorder.change(self.slot, |container| container.mode &= !mode::ASIDE));
        }
    }
}

impl Recorder {
    /// Has these tasks, as the host numbers them, held behind their next call, for [`hold::TRACKED`](migrate_common::maps::hold::TRACKED).
    /// Those that were asked for before and have made none since are asked for no more.
    ///
    /// # Errors
    /// [`ProbeError::NoSuchSlot`], [`ProbeError::Map`].
    pub fn ask_for(&self, slot: u32, host_tids: &[u32]) -> Result<(), ProbeError> {
        let mut asides = self.asides().lock().unwrap_or_else(PoisonError::into_inner);
        let stale: Vec<u32> = asides.asked.iter().flatten().filter(|(_, of)| *of == slot).map(|(tid, _)| tid).collect();
        // One that was held meanwhile is no loss.
        stale.iter().for_each(|tid| drop(asides.asked.remove(tid)));
        host_tids.iter().try_for_each(|tid| asides.asked.insert(tid, slot, 0)).map_err(map_error("ASKED"))?;
        drop(asides);
        let asks = !host_tids.is_empty();
        self.change(slot, |container| {
            container.mode &= !mode::ASKS;
            container.mode |= if asks { mode::ASKS } else { 0 };
        })
    }
}
