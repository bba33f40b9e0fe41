//! Watching containers that are not going to be moved: from now on, some groups of calls, counted or captured.

use aya::maps::PerCpuArray;
use migrate_common::maps::{Container, MAX_CONTAINERS, Tallies, Tally, mode, phase, tally};
use migrate_common::record::{Class, Header, Kind};
use migrate_common::syscalls::{Group, GroupSet, TABLE};

use super::recorder::{TalliesBytes, map_error};
use super::{ProbeError, Recorder};

/// What is made of the calls of a watched container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Records in the ring, and tallies.
    Capture,
    /// Tallies alone.
    Count,
}

/// What to watch of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    pub mode: Mode,
    /// Calls of other groups are neither captured nor counted.
    pub groups: GroupSet,
}

impl Watch {
    /// What the programs are told.
    pub(super) fn container(self, slot: u32) -> Container {
        let mode = if self.mode == Mode::Capture { mode::CAPTURE } else { 0 };
        Container { slot, phase: phase::RECORDING, mode, groups: self.groups.bits() }
    }
}

/// Calls of one number, on sockets or on whatever is none; or records of one kind that are no calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TallyRow {
    /// [`Kind::Syscall`], or what kind of record was made.
    pub kind: Kind,
    /// The call's number, or 0. [`TallyRow::UNKNOWN`] stands for all that have no row.
    pub nr: i32,
    /// The call was on a socket.
    pub socket: bool,
    pub group: Group,
    pub events: u64,
    /// Bytes of input, as [`Tally::bytes`] says.
    pub bytes: u64,
}

impl TallyRow {
    /// [`TallyRow::nr`] of calls whose number has no row.
    pub const UNKNOWN: i32 = -1;
}

impl Recorder {
    /// Watches the tasks of some cgroups, as one container, from now on. What a task began before may come out halved: its
    /// first record is the end of whatever call it is in.
    ///
    /// # Errors
    /// [`ProbeError::AlreadyRecorded`]; [`ProbeError::TooManyContainers`] if as many are watched as
    /// [`Options::tally_slots`](super::Options::tally_slots) says.
    pub fn watch(&self, cgroup_ids: &[u64], watch: Watch) -> Result<u32, ProbeError> {
        self.occupy(0..self.options().tally_slots.min(MAX_CONTAINERS), cgroup_ids, |slot| watch.container(slot))
    }

    /// Watches one more cgroup as part of a watched container: one that was made below it, say. A cgroup that is part of it
    /// already is no error.
    ///
    /// # Errors
    /// [`ProbeError::NoSuchSlot`], [`ProbeError::AlreadyRecorded`] in another slot.
    pub fn extend(&self, slot: u32, cgroup_id: u64) -> Result<(), ProbeError> {
        self.join(slot, cgroup_id)
    }

    /// What has been counted in a slot since it was watched: only calls that were seen, by number; sockets' behind the others'.
    ///
    /// # Errors
    /// [`ProbeError::NotTallied`] for a slot that [`Recorder::add`] gave.
    pub fn tallies(&self, slot: u32) -> Result<Vec<TallyRow>, ProbeError> {
        if slot >= self.options().tally_slots {
            return Err(ProbeError::NotTallied(slot));
        }
        let sum = self.with_tallies(|map| sum(map, slot))?;
        Ok(sum.iter().enumerate().filter(|(_, tally)| tally.events != 0).map(|(at, tally)| row(at, *tally)).collect())
    }
}

/// Slots of watched containers come first, then those that are recorded for a move.
pub(super) fn recorded_slots(tally_slots: u32) -> std::ops::Range<u32> {
    tally_slots.min(MAX_CONTAINERS)..MAX_CONTAINERS
}

fn sum(map: &PerCpuArray<aya::maps::MapData, TalliesBytes>, slot: u32) -> Result<Tallies, ProbeError> {
    let cpus = map.get(&slot, 0).map_err(map_error("TALLIES"))?;
    let mut sum = [Tally::default(); tally::LEN];
    for cpu in cpus.iter() {
        // The map's buffer is not aligned to 8 bytes.
        let cpu = cpu.chunks_exact(size_of::<Tally>()).map(bytemuck::pod_read_unaligned::<Tally>);
        for (sum, cpu) in sum.iter_mut().zip(cpu) {
            sum.events += cpu.events;
            sum.bytes += cpu.bytes;
        }
    }
    Ok(sum)
}

fn row(at: usize, tally: Tally) -> TallyRow {
    let Tally { events, bytes } = tally;
    let kinds = [Kind::Fork, Kind::Exec, Kind::Exit, Kind::Signal, Kind::Switch, Kind::Resume, Kind::Clocks];
    if let Some(kind) = kinds.into_iter().find(|kind| tally::of(*kind) == at) {
        let group = Group::of_record(&Header { kind: kind as u8, ..Header::default() });
        return TallyRow { kind, nr: 0, socket: false, group, events, bytes };
    }
    let socket = at >= tally::SOCKET;
    let place = at % tally::SOCKET;
    let row = TABLE.iter().find(|row| usize::from(row.nr) == place);
    let group = row.map_or(Group::Other, |row| row.group.on(if socket { Class::Inet } else { Class::None }));
    let nr = row.map_or(TallyRow::UNKNOWN, |row| row.nr.into());
    TallyRow { kind: Kind::Syscall, nr, socket, group, events, bytes }
}
