//! Containers whose tasks take turns: what the programs are told, and what they tell.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aya::TestRun as _;
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::RawTracePointRunOptions;
use migrate_common::maps::{Turn, mode};

use super::recorder::{HAND_OVER, IS_OVERDUE, SWITCHES, map_error, program_error};
use super::{ProbeError, Recorder};
use crate::sys::{bpf, membarrier};

/// How long a program may take to write one record: its CPU may be a virtual machine's that does not run.
const WRITE_BOUND: Duration = Duration::from_secs(5);

type TurnBytes = [u8; size_of::<Turn>()];

/// The maps, and the program while it is attached.
pub(super) struct Turns {
    turns: Array<MapData, TurnBytes>,
    away: HashMap<MapData, u32, u32>,
    /// With the CPU of each.
    slots: Vec<(u32, usize)>,
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
    /// From now on the programs record where the tasks of a slot leave the CPU outside of a call. All of them must be on `cpu`
    /// already. `held`, as the host numbers it, has left it before, and its coming back is recorded.
    ///
    /// # Errors
    /// [`ProbeError::NoSuchSlot`], and if the program cannot be attached.
    pub fn begin_turns(&self, slot: u32, cpu: usize, held: Option<u32>) -> Result<(), ProbeError> {
        let mut turns = self.lock_turns();
        turns.clear(slot, held)?;
        if turns.attached.is_none() {
            let attached = bpf::attach_tracepoint(self.program_fd(SWITCHES)?.as_fd());
            turns.attached = Some(attached.map_err(ProbeError::io("attaching the program sched_switch"))?);
        }
        turns.slots.push((slot, cpu));
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
        if let Some((_, cpu)) = turns.slots.iter().find(|(serial, _)| *serial == slot)
            && let Err(error) =
                membarrier::wait_for_running_programs().map_err(ProbeError::io("waiting")).and_then(|()| self.hand_over_on(*cpu))
        {
            tracing::error!(%error, slot, "records of a container whose tasks no longer take turns may be late");
        }
        turns.slots.retain(|(serial, _)| *serial != slot);
        if turns.slots.is_empty() {
            turns.attached = None;
        }
    }

    /// Has the CPUs on which tasks take turns put into the ring what waits there: small records of tasks that run on.
    ///
    /// # Errors
    /// [`ProbeError::Program`]; [`ProbeError::Io`] if a record is not written to its end.
    pub fn hand_over(&self) -> Result<(), ProbeError> {
        self.lock_turns().slots.iter().try_for_each(|(_, cpu)| self.hand_over_on(*cpu))
    }

    fn hand_over_on(&self, cpu: usize) -> Result<(), ProbeError> {
        let begun = Instant::now();
        while self.run_on(cpu, HAND_OVER, [0; 2])? != 0 {
            if begun.elapsed() > WRITE_BOUND {
                let why = std::io::ErrorKind::TimedOut.into();
                return Err(ProbeError::Io { what: format!("taking over the records that wait on CPU {cpu}"), why });
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Whether a task of the slot runs on the CPU, has done so for at least `bound`, and keeps others waiting. The task loses no time
    /// by the question but an interrupt's.
    ///
    /// # Errors
    /// [`ProbeError::Program`].
    pub fn is_overdue(&self, slot: u32, cpu: usize, bound: Duration) -> Result<bool, ProbeError> {
        let ns = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Ok(self.run_on(cpu, IS_OVERDUE, [slot.into(), ns])? != 0)
    }

    /// Runs a program on a CPU, in an interrupt there. What it returns.
    fn run_on(&self, cpu: usize, name: &'static str, [first, second]: [u64; 2]) -> Result<u32, ProbeError> {
        let mut there = RawTracePointRunOptions { cpu: u32::try_from(cpu).ok(), ..RawTracePointRunOptions::new() };
        there.args[..2].copy_from_slice(&[first, second]);
        Ok(self.raw_program(name)?.test_run(there).map_err(program_error(name))?.return_value)
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
