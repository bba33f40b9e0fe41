//! Containers whose tasks take turns: what the programs are told, and what they tell.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{MutexGuard, PoisonError};

use aya::maps::{Array, HashMap, Map, MapData};
use migrate_common::maps::{Turn, mode};

use super::recorder::{SWITCHES, map_error};
use super::{ProbeError, Recorder};
use crate::sys::bpf;

type TurnBytes = [u8; size_of::<Turn>()];

/// The maps, and the program while it is attached.
pub(super) struct Turns {
    turns: Array<MapData, TurnBytes>,
    away: HashMap<MapData, u32, u32>,
    slots: Vec<u32>,
    attached: Option<OwnedFd>,
}

impl Turns {
    pub(super) fn new(turns: MapData, away: MapData) -> Result<Self, ProbeError> {
        let turns = Array::try_from(Map::Array(turns)).map_err(map_error("TURNS"))?;
        let away = HashMap::try_from(Map::HashMap(away)).map_err(map_error("AWAY"))?;
        Ok(Self { turns, away, slots: Vec::new(), attached: None })
    }

    /// As if no task of the slot had ever left, but one.
    fn clear(&mut self, slot: u32, held: Option<u32>) -> Result<(), ProbeError> {
        let stale: Vec<u32> = self.away.iter().flatten().filter(|(_, of)| *of == slot).map(|(tid, _)| tid).collect();
        // A task that ends meanwhile is no loss.
        stale.iter().for_each(|tid| drop(self.away.remove(tid)));
        if let Some(host_tid) = held {
            self.away.insert(host_tid, slot, 0).map_err(map_error("AWAY"))?;
        }
        self.turns.set(slot, [0; size_of::<Turn>()], 0).map_err(map_error("TURNS"))
    }
}

impl Recorder {
    /// From now on the programs record where the tasks of a slot leave the CPU outside of a call. All of them must be on one CPU
    /// already. `held`, as the host numbers it, has left it before, and its coming back is recorded.
    ///
    /// # Errors
    /// [`ProbeError::NoSuchSlot`], and if the program cannot be attached.
    pub fn begin_turns(&self, slot: u32, held: Option<u32>) -> Result<(), ProbeError> {
        let mut turns = self.lock_turns();
        turns.clear(slot, held)?;
        if turns.attached.is_none() {
            let attached = bpf::attach_tracepoint(self.program_fd(SWITCHES)?.as_fd());
            turns.attached = Some(attached.map_err(ProbeError::io("attaching the program sched_switch"))?);
        }
        turns.slots.push(slot);
        self.change(slot, |container| container.mode |= mode::SERIAL)
    }

    /// A task of the slot stands outside of a call, and that is known without a record: that it runs again will be recorded.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn left(&self, slot: u32, host_tid: u32) -> Result<(), ProbeError> {
        self.lock_turns().away.insert(host_tid, slot, 0).map_err(map_error("AWAY"))
    }

    /// Ends that, if it has begun. The slot may be given back already.
    pub fn end_turns(&self, slot: u32) {
        let mut turns = self.lock_turns();
        // Of a slot that has been given back nothing is recorded at all.
        drop(self.change(slot, |container| container.mode &= !mode::SERIAL));
        turns.slots.retain(|serial| *serial != slot);
        if turns.slots.is_empty() {
            turns.attached = None;
        }
    }

    /// Whose turn it is.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn turn(&self, slot: u32) -> Result<Turn, ProbeError> {
        let bytes = self.lock_turns().turns.get(&slot, 0).map_err(map_error("TURNS"))?;
        // The bytes are not aligned to 8.
        Ok(bytemuck::pod_read_unaligned(&bytes))
    }

    fn lock_turns(&self) -> MutexGuard<'_, Turns> {
        self.turns().lock().unwrap_or_else(PoisonError::into_inner)
    }
}
