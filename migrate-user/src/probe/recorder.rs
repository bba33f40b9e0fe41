//! The recorder: programs, maps, and whose tasks are recorded.

use std::collections::HashMap as StdHashMap;
use std::fmt;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{BtfTracePoint, ProgramFd, RawTracePoint};
use aya::util::nr_cpus;
use aya::{Btf, Ebpf, EbpfLoader};
use migrate_common::maps::{Container, Counters, MAX_CONTAINERS, Restart, Tallies, mode, phase};
use migrate_common::syscalls::{GroupSet, KRow, TABLE, choice_key};

use super::aside::Asides;
use super::cost::MissedBefore;
use super::hold::{Held, hold_bytes};
use super::places::Places;
use super::turns::Turns;
use super::watch::recorded_slots;
use super::{ProbeError, kernel_offsets, object};
use crate::clocks;
use crate::sys::bpf_ring::{RingLevel, RingReader};
use crate::sys::membarrier;

/// Programs, named after the hook of each.
pub(super) const PROGRAMS: [&str; 6] =
    ["sched_process_fork", "sched_process_exec", "sched_process_exit", "signal_deliver", "sys_exit", SWITCHES];
/// The one that is attached only while the tasks of some container take turns.
pub(super) const SWITCHES: &str = "sched_switch";
/// The one that is there only where clock reads are no system calls.
const BEFORE_EXEC: &str = "sched_prepare_exec";
/// Those that userspace runs on a CPU, attached nowhere: to have handed over what waits there, and to ask about the task that runs.
pub(super) const HAND_OVER: &str = "hand_over";
pub(super) const IS_OVERDUE: &str = "is_overdue";
/// The CPUs together wake the reader, and look whether tasks are to be held, at the latest after they have put in this part of the
/// ring: well below what is free when tasks are held. Each does after [`MAX_WAKE_BYTES`].
const WAKE_PART: u64 = 8;
const MAX_WAKE_BYTES: u64 = 1024 * 1024;

type CountersBytes = [u8; size_of::<Counters>()];
pub(super) type TalliesBytes = [u8; size_of::<Tallies>()];
type RestartBytes = [u8; size_of::<Restart>()];
type RowBytes = [u8; size_of::<KRow>()];

/// What can be chosen about the recorder.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the ring that all containers share: a power of two, at least a page.
    pub ring_bytes: u32,
    /// How many containers can be watched at a time, [`Recorder::watch`]; at most [`MAX_CONTAINERS`]. Each takes 16 KiB of
    /// memory a CPU for its tallies.
    pub tally_slots: u32,
    /// Tasks of recorded containers that a gate traces are held when the ring fills up; the gate must be told, by
    /// [`Gate::holding`](super::gate::Gate::holding).
    pub hold: bool,
    /// Clock reads need be no system calls: the gate, which must be told as for `hold`, gives processes [code of ours](crate::clocks) in the
    /// vDSO's place. Where that cannot be they are.
    pub clocks: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_bytes: 64 << 20, tally_slots: 32, hold: false, clocks: false }
    }
}

/// The loaded and attached programs. Dropping it detaches them.
pub struct Recorder {
    programs: Ebpf,
    options: Options,
    state: Mutex<State>,
    numbers: RwLock<Numbers>,
    hold_map: Mutex<HashMap<MapData, u32, u32>>,
    level: RingLevel,
    held: Held,
    turns: Mutex<Turns>,
    asides: Mutex<Asides>,
    missed_before: MissedBefore,
}

struct State {
    containers: Places,
    /// Slot -> its cgroups.
    slots: StdHashMap<u32, Vec<u64>>,
    /// Where the search for a free slot starts: a slot rests as long as possible.
    next: u32,
    ring: Option<RingReader>,
}

/// The two halves of [`Counters`], and the tallies.
struct Numbers {
    sequence: Array<MapData, u64>,
    counters: PerCpuArray<MapData, CountersBytes>,
    tallies: PerCpuArray<MapData, TalliesBytes>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("options", &self.options).field("slots", &self.state().slots).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Loads the programs, tells them the kernel's offsets and the system call table, and attaches them. Nothing is recorded
    /// before [`Recorder::add`] or [`Recorder::watch`].
    ///
    /// # Errors
    /// Without root, on a kernel without BTF, and as [`ProbeError`] says.
    pub fn load(options: Options) -> Result<Self, ProbeError> {
        let ring_bytes = options.ring_bytes;
        if !ring_bytes.is_power_of_two() || ring_bytes < 4096 {
            return Err(ProbeError::RingSize(ring_bytes));
        }
        let offsets = kernel_offsets()?;
        let cpus = nr_cpus().map_err(|(path, why)| ProbeError::Io { what: format!("reading {path}"), why })? as u64;
        let wake_bytes = (u64::from(ring_bytes) / WAKE_PART / cpus).min(MAX_WAKE_BYTES);
        let btf = Btf::from_sys_fs()?;
        let mut programs = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("OFFSETS", bytemuck::bytes_of(&offsets), true)
            .override_global("WAKE_BYTES", &wake_bytes, true)
            .override_global("HOLD_BYTES", &hold_bytes(ring_bytes), true)
            .map_max_entries("RING", ring_bytes)
            .map_max_entries("TALLIES", options.tally_slots.clamp(1, MAX_CONTAINERS))
            .load(object::recorder()?)
            .map_err(Box::new)?;
        // Programs name maps by file descriptor until they are loaded, so before any map is taken out and closed.
        for name in PROGRAMS {
            program(&mut programs, name)?.load(name, &btf).map_err(program_error(name))?;
        }
        let options = Options { clocks: options.clocks && reads_clocks(&mut programs, &btf), ..options };
        for name in [HAND_OVER, IS_OVERDUE] {
            let of_object = programs.program_mut(name).ok_or(ProbeError::NoProgram(name))?;
            let raw: &mut RawTracePoint = of_object.try_into().map_err(program_error(name))?;
            raw.load().map_err(program_error(name))?;
        }
        #[cfg(feature = "probe-log")]
        super::log::forward(&mut programs)?;
        fill_table(&mut programs)?;
        let ring = take(&mut programs, "RING")?;
        let level = RingLevel::new(ring.fd().as_fd()).map_err(ProbeError::io("mapping the ring"))?;
        let ring = RingReader::new(ring.fd().as_fd(), ring_bytes as usize).map_err(ProbeError::io("mapping the ring"))?;
        let holds = take(&mut programs, "HOLDS")?;
        let hold_map = HashMap::try_from(Map::HashMap(holds)).map_err(map_error("HOLDS"))?;
        let turns = Turns::new(take(&mut programs, "TURNS")?, take(&mut programs, "AWAY")?)?;
        let asides = Asides::new(take(&mut programs, "ASIDE")?, take(&mut programs, "ASKED")?)?;
        let containers = Places::new(take(&mut programs, "PLACED")?, take(&mut programs, "CONTAINERS")?)?;
        let numbers = Numbers {
            sequence: Array::try_from(Map::Array(take(&mut programs, "SEQUENCE")?)).map_err(map_error("SEQUENCE"))?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(take(&mut programs, "COUNTERS")?)).map_err(map_error("COUNTERS"))?,
            tallies: PerCpuArray::try_from(Map::PerCpuArray(take(&mut programs, "TALLIES")?)).map_err(map_error("TALLIES"))?,
        };
        let state = State { containers, slots: StdHashMap::new(), next: 0, ring: Some(ring) };
        for name in names(&options).filter(|name| *name != SWITCHES) {
            program(&mut programs, name)?.attach().map_err(program_error(name))?;
        }
        Ok(Self {
            programs,
            options,
            state: Mutex::new(state),
            numbers: RwLock::new(numbers),
            hold_map: Mutex::new(hold_map),
            level,
            held: Held::default(),
            turns: Mutex::new(turns),
            asides: Mutex::new(asides),
            missed_before: MissedBefore::default(),
        })
    }

    /// Begins to record the tasks of a cgroup, by the inode number of its cgroup v2 directory, from the moment on when pid 1
    /// of a pid namespace in it enters its first image. Returns the slot that its records name.
    ///
    /// # Errors
    /// [`ProbeError::AlreadyRecorded`], [`ProbeError::TooManyContainers`].
    pub fn add(&self, cgroup_id: u64) -> Result<u32, ProbeError> {
        self.occupy(recorded_slots(self.options.tally_slots), &[cgroup_id], |slot| Container {
            slot,
            phase: phase::SETUP,
            mode: mode::CAPTURE
                | if self.options.hold { mode::HOLD } else { 0 }
                | if self.options.clocks { mode::CLOCKS } else { 0 },
            groups: GroupSet::ALL.bits(),
        })
    }

    /// Takes a free slot of a range for some cgroups.
    pub(super) fn occupy(
        &self,
        slots: Range<u32>,
        cgroup_ids: &[u64],
        container: impl FnOnce(u32) -> Container,
    ) -> Result<u32, ProbeError> {
        let mut state = self.state();
        if let Some(&recorded) = cgroup_ids.iter().find(|&&cgroup| state.slot_of(cgroup).is_some()) {
            return Err(ProbeError::AlreadyRecorded(recorded));
        }
        let count = slots.end - slots.start;
        let candidates = (0..count).map(|n| slots.start + (state.next.wrapping_add(n)) % count);
        let slot = candidates.into_iter().find(|slot| !state.slots.contains_key(slot));
        let slot = slot.ok_or(ProbeError::TooManyContainers(count))?;
        self.numbers.write().unwrap_or_else(PoisonError::into_inner).clear(slot, self.options.tally_slots)?;
        self.missed_before.begin(slot, self.missed_runs()?);
        state.slots.insert(slot, Vec::new());
        state.next = state.next.wrapping_add(1);
        let container = container(slot);
        let inserted = cgroup_ids.iter().try_for_each(|&cgroup| state.insert(cgroup, container));
        drop(state);
        if inserted.is_err() {
            // Those that were inserted; why the others were not is what counts.
            drop(self.remove(slot));
        }
        inserted.map(|()| slot)
    }

    /// Adds a cgroup to an occupied slot, as the slot's others.
    pub(super) fn join(&self, slot: u32, cgroup_id: u64) -> Result<(), ProbeError> {
        let mut state = self.state();
        let first = *state.slots.get(&slot).and_then(|cgroups| cgroups.first()).ok_or(ProbeError::NoSuchSlot(slot))?;
        match state.slot_of(cgroup_id) {
            Some(of) if of == slot => return Ok(()),
            Some(_) => return Err(ProbeError::AlreadyRecorded(cgroup_id)),
            None => {}
        }
        let container = state.containers.get(first)?;
        state.insert(cgroup_id, container)
    }

    /// Ends the recording of a slot's cgroups. When this returns no program numbers a record of it any more; the slot's last
    /// records may still be in the ring.
    ///
    /// # Errors
    /// [`ProbeError::NoSuchSlot`].
    pub fn remove(&self, slot: u32) -> Result<(), ProbeError> {
        let mut state = self.state();
        let cgroups = state.slots.get(&slot).cloned().ok_or(ProbeError::NoSuchSlot(slot))?;
        for cgroup in cgroups {
            state.containers.remove(cgroup)?;
        }
        membarrier::wait_for_running_programs().map_err(ProbeError::io("waiting for running eBPF programs"))?;
        state.slots.remove(&slot);
        Ok(())
    }

    /// What has been numbered, emitted and lost in a slot.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn counters(&self, slot: u32) -> Result<Counters, ProbeError> {
        self.numbers.read().unwrap_or_else(PoisonError::into_inner).get(slot)
    }

    /// The ring's reading end: there is one, so a second call has none.
    pub fn take_ring(&self) -> Option<RingReader> {
        self.state().ring.take()
    }

    pub(super) const fn hold_map(&self) -> &Mutex<HashMap<MapData, u32, u32>> {
        &self.hold_map
    }

    pub(super) const fn level(&self) -> &RingLevel {
        &self.level
    }

    pub(super) const fn held(&self) -> &Held {
        &self.held
    }

    pub(super) const fn asides(&self) -> &Mutex<Asides> {
        &self.asides
    }

    pub(super) const fn turns(&self) -> &Mutex<Turns> {
        &self.turns
    }

    /// Changes what the programs know of a slot's cgroups. Not while the container may enter its first image, which the programs note in
    /// the same place.
    pub(super) fn change(&self, slot: u32, change: impl Fn(&mut Container)) -> Result<(), ProbeError> {
        let mut state = self.state();
        let cgroups = state.slots.get(&slot).cloned().ok_or(ProbeError::NoSuchSlot(slot))?;
        for cgroup in cgroups {
            let mut container = state.containers.get(cgroup)?;
            change(&mut container);
            state.containers.set(cgroup, container)?;
        }
        Ok(())
    }

    pub(super) const fn missed_before(&self) -> &MissedBefore {
        &self.missed_before
    }

    /// What it was loaded with, but for what this kernel does not allow.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The programs that are loaded.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        names(&self.options)
    }

    pub(super) fn raw_program(&self, name: &'static str) -> Result<&RawTracePoint, ProbeError> {
        self.programs.program(name).ok_or(ProbeError::NoProgram(name))?.try_into().map_err(program_error(name))
    }

    pub(super) fn program_fd(&self, name: &'static str) -> Result<&ProgramFd, ProbeError> {
        self.programs.program(name).ok_or(ProbeError::NoProgram(name))?.fd().map_err(program_error(name))
    }

    pub(super) fn with_tallies<T>(&self, f: impl FnOnce(&PerCpuArray<MapData, TalliesBytes>) -> T) -> T {
        f(&self.numbers.read().unwrap_or_else(PoisonError::into_inner).tallies)
    }

    /// The call that a task, by its number on the host, was last interrupted in so that it goes on as `restart_syscall`. It may have
    /// ended since.
    ///
    /// # Errors
    /// [`ProbeError::Map`].
    pub fn restart(&self, host_tid: u32) -> Result<Option<Restart>, ProbeError> {
        let map = self.programs.map("RESTARTS").ok_or(ProbeError::NoMap("RESTARTS"))?;
        let restarts: HashMap<_, u32, RestartBytes> = HashMap::try_from(map).map_err(map_error("RESTARTS"))?;
        match restarts.get(&host_tid, 0) {
            Ok(bytes) => Ok(Some(bytemuck::cast::<RestartBytes, Restart>(bytes))),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(why) => Err(map_error("RESTARTS")(why)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn slot_of(&self, cgroup_id: u64) -> Option<u32> {
        self.slots.iter().find_map(|(slot, cgroups)| cgroups.contains(&cgroup_id).then_some(*slot))
    }

    fn insert(&mut self, cgroup_id: u64, container: Container) -> Result<(), ProbeError> {
        self.containers.set(cgroup_id, container)?;
        self.slots.entry(container.slot).or_default().push(cgroup_id);
        Ok(())
    }
}

impl Numbers {
    fn clear(&mut self, slot: u32, tally_slots: u32) -> Result<(), ProbeError> {
        self.counters.set(slot, zeros()?, 0).map_err(map_error("COUNTERS"))?;
        if slot < tally_slots {
            self.tallies.set(slot, zeros()?, 0).map_err(map_error("TALLIES"))?;
        }
        self.sequence.set(slot, 0, 0).map_err(map_error("SEQUENCE"))
    }

    fn get(&self, slot: u32) -> Result<Counters, ProbeError> {
        let seq = self.sequence.get(&slot, 0).map_err(map_error("SEQUENCE"))?;
        let cpus = self.counters.get(&slot, 0).map_err(map_error("COUNTERS"))?;
        Ok(cpus.iter().map(|bytes| bytemuck::cast::<CountersBytes, Counters>(*bytes)).fold(
            Counters { seq, ..Counters::default() },
            |sum, cpu| Counters {
                seq: sum.seq,
                seen: sum.seen + cpu.seen,
                emitted: sum.emitted + cpu.emitted,
                ring_full: sum.ring_full + cpu.ring_full,
                too_large: sum.too_large + cpu.too_large,
                faults: sum.faults + cpu.faults,
                bytes: sum.bytes + cpu.bytes,
            },
        ))
    }
}

fn names(options: &Options) -> impl Iterator<Item = &'static str> + use<> {
    PROGRAMS.into_iter().chain(options.clocks.then_some(BEFORE_EXEC))
}

/// Loads what is needed where clock reads are no system calls. False: they are.
fn reads_clocks(programs: &mut Ebpf, btf: &Btf) -> bool {
    let loaded = match clocks::obstacle() {
        Some(why) => Err(why),
        None => program(programs, BEFORE_EXEC)
            .and_then(|program| program.load(BEFORE_EXEC, btf).map_err(program_error(BEFORE_EXEC)))
            .map_err(|error| error.to_string()),
    };
    if let Err(why) = &loaded {
        tracing::info!(%why, "clock reads of containers are system calls on this host");
    }
    loaded.is_ok()
}

/// A per-CPU value of zeros.
fn zeros<const N: usize>() -> Result<PerCpuValues<[u8; N]>, ProbeError> {
    let cpus = nr_cpus().map_err(|(path, why)| ProbeError::Io { what: format!("reading {path}"), why })?;
    PerCpuValues::try_from(vec![[0; N]; cpus]).map_err(ProbeError::io("counting CPUs"))
}

pub(super) fn map_error(name: &'static str) -> impl Fn(aya::maps::MapError) -> ProbeError {
    move |why| ProbeError::Map { name, why: Box::new(why) }
}

pub(super) fn program_error(name: &'static str) -> impl Fn(aya::programs::ProgramError) -> ProbeError {
    move |why| ProbeError::Program { name, why: Box::new(why) }
}

fn program<'a>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut BtfTracePoint, ProbeError> {
    programs.program_mut(name).ok_or(ProbeError::NoProgram(name))?.try_into().map_err(program_error(name))
}

/// A map of the object, by itself.
fn take(programs: &mut Ebpf, name: &'static str) -> Result<MapData, ProbeError> {
    match programs.take_map(name) {
        Some(Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data)) => Ok(data),
        _ => Err(ProbeError::NoMap(name)),
    }
}

/// Tells the programs the system call table.
fn fill_table(programs: &mut Ebpf) -> Result<(), ProbeError> {
    let mut rows: Array<_, RowBytes> = Array::try_from(Map::Array(take(programs, "ROWS")?)).map_err(map_error("ROWS"))?;
    let mut choices: HashMap<_, u64, RowBytes> =
        HashMap::try_from(Map::HashMap(take(programs, "CHOICES")?)).map_err(map_error("CHOICES"))?;
    for row in TABLE {
        rows.set(u32::from(row.nr), bytemuck::cast::<KRow, RowBytes>(KRow::of_row(row)), 0).map_err(map_error("ROWS"))?;
        for choice in row.select.iter().flat_map(|select| select.choices) {
            let key = choice_key(row.nr, choice.value);
            let value = bytemuck::cast::<KRow, RowBytes>(KRow::of_choice(row, choice));
            choices.insert(key, value, 0).map_err(map_error("CHOICES"))?;
        }
    }
    Ok(())
}
