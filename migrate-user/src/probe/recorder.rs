//! The recorder: programs, maps, and whose tasks are recorded.

use std::collections::HashMap as StdHashMap;
use std::fmt;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use aya::programs::BtfTracePoint;
use aya::util::nr_cpus;
use aya::{Btf, Ebpf, EbpfLoader};
use migrate_common::maps::{Container, Counters, MAX_CONTAINERS, phase};
use migrate_common::syscalls::{KRow, TABLE, choice_key};

use super::{ProbeError, kernel_offsets, object};
use crate::sys::bpf_ring::RingReader;
use crate::sys::membarrier;

/// Programs, named after the hook of each.
const PROGRAMS: [&str; 5] = ["sched_process_fork", "sched_process_exec", "sched_process_exit", "signal_deliver", "sys_exit"];
/// A CPU wakes the reader after it has put in this part of the ring, or [`MAX_WAKE_BYTES`].
const WAKE_PART: u64 = 16;
const MAX_WAKE_BYTES: u64 = 256 * 1024;

type ContainerBytes = [u8; size_of::<Container>()];
type CountersBytes = [u8; size_of::<Counters>()];
type RowBytes = [u8; size_of::<KRow>()];

/// What can be chosen about the recorder.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of the ring that all containers share: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Record from the next call on, not from pid 1's first image on. For measurements.
    pub from_now: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_bytes: 64 << 20, from_now: false }
    }
}

/// The loaded and attached programs. Dropping it detaches them.
pub struct Recorder {
    programs: Ebpf,
    options: Options,
    state: Mutex<State>,
    numbers: RwLock<Numbers>,
}

struct State {
    containers: HashMap<MapData, u64, ContainerBytes>,
    /// Slot -> cgroup.
    slots: StdHashMap<u32, u64>,
    /// Where the search for a free slot starts: a slot rests as long as possible.
    next: u32,
    ring: Option<RingReader>,
}

/// The two halves of [`Counters`].
struct Numbers {
    sequence: Array<MapData, u64>,
    counters: PerCpuArray<MapData, CountersBytes>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("options", &self.options).field("slots", &self.state().slots).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Loads the programs, tells them the kernel's offsets and the system call table, and attaches them. Nothing is recorded
    /// before [`Recorder::add`].
    ///
    /// # Errors
    /// Without root, on a kernel without BTF, and as [`ProbeError`] says.
    pub fn load(options: Options) -> Result<Self, ProbeError> {
        let ring_bytes = options.ring_bytes;
        if !ring_bytes.is_power_of_two() || ring_bytes < 4096 {
            return Err(ProbeError::RingSize(ring_bytes));
        }
        let offsets = kernel_offsets()?;
        let wake_bytes = (u64::from(ring_bytes) / WAKE_PART).min(MAX_WAKE_BYTES);
        let btf = Btf::from_sys_fs()?;
        let mut programs = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("OFFSETS", bytemuck::bytes_of(&offsets), true)
            .override_global("WAKE_BYTES", &wake_bytes, true)
            .map_max_entries("RING", ring_bytes)
            .load(object::recorder()?)
            .map_err(Box::new)?;
        // Programs name maps by file descriptor until they are loaded, so before any map is taken out and closed.
        for name in PROGRAMS {
            program(&mut programs, name)?.load(name, &btf).map_err(program_error(name))?;
        }
        #[cfg(feature = "probe-log")]
        super::log::forward(&mut programs)?;
        fill_table(&mut programs)?;
        let ring = RingReader::new(take(&mut programs, "RING")?.fd().as_fd(), ring_bytes as usize)
            .map_err(ProbeError::io("mapping the ring"))?;
        let containers = take(&mut programs, "CONTAINERS")?;
        let numbers = Numbers {
            sequence: Array::try_from(Map::Array(take(&mut programs, "SEQUENCE")?)).map_err(map_error("SEQUENCE"))?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(take(&mut programs, "COUNTERS")?)).map_err(map_error("COUNTERS"))?,
        };
        let state = State {
            containers: HashMap::try_from(Map::HashMap(containers)).map_err(map_error("CONTAINERS"))?,
            slots: StdHashMap::new(),
            next: 0,
            ring: Some(ring),
        };
        for name in PROGRAMS {
            program(&mut programs, name)?.attach().map_err(program_error(name))?;
        }
        Ok(Self { programs, options, state: Mutex::new(state), numbers: RwLock::new(numbers) })
    }

    /// Begins to record the tasks of a cgroup, by the inode number of its cgroup v2 directory, from the moment on when pid 1
    /// of a pid namespace in it enters its first image. Returns the slot that its records name.
    ///
    /// # Errors
    /// [`ProbeError::AlreadyRecorded`], [`ProbeError::TooManyContainers`].
    pub fn add(&self, cgroup_id: u64) -> Result<u32, ProbeError> {
        let mut state = self.state();
        if state.slots.values().any(|&cgroup| cgroup == cgroup_id) {
            return Err(ProbeError::AlreadyRecorded(cgroup_id));
        }
        let candidates = (0..MAX_CONTAINERS).map(|n| (state.next + n) % MAX_CONTAINERS);
        let slot = candidates.into_iter().find(|slot| !state.slots.contains_key(slot));
        let slot = slot.ok_or(ProbeError::TooManyContainers(MAX_CONTAINERS))?;
        self.numbers.write().unwrap_or_else(PoisonError::into_inner).clear(slot)?;
        let phase = if self.options.from_now { phase::RECORDING } else { phase::SETUP };
        let container: ContainerBytes = bytemuck::cast(Container { slot, phase });
        state.containers.insert(cgroup_id, container, 0).map_err(map_error("CONTAINERS"))?;
        state.slots.insert(slot, cgroup_id);
        state.next = (slot + 1) % MAX_CONTAINERS;
        Ok(slot)
    }

    /// Ends the recording of a slot's cgroup. When this returns no program numbers a record of it any more; the slot's last
    /// records may still be in the ring.
    ///
    /// # Errors
    /// [`ProbeError::NoSuchSlot`].
    pub fn remove(&self, slot: u32) -> Result<(), ProbeError> {
        let mut state = self.state();
        let cgroup = *state.slots.get(&slot).ok_or(ProbeError::NoSuchSlot(slot))?;
        state.containers.remove(&cgroup).map_err(map_error("CONTAINERS"))?;
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

    /// Runs of programs that the kernel skipped because one was running on the CPU already. Such a run numbers no record: any
    /// number above 0 means that records are missing, of whatever container.
    ///
    /// # Errors
    /// [`ProbeError::Io`] if the kernel does not tell.
    pub fn missed_runs(&self) -> Result<u64, ProbeError> {
        let mut missed = 0;
        for name in PROGRAMS {
            let program = self.programs.program(name).ok_or(ProbeError::NoProgram(name))?;
            let fd = program.fd().map_err(program_error(name))?;
            let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
            let info = fs::read_to_string(&path).map_err(ProbeError::io(format!("reading {path}")))?;
            let line = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
            missed += line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(missed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbers {
    fn clear(&mut self, slot: u32) -> Result<(), ProbeError> {
        let cpus = nr_cpus().map_err(|(path, why)| ProbeError::Io { what: format!("reading {path}"), why })?;
        let zeros = PerCpuValues::try_from(vec![[0; size_of::<Counters>()]; cpus]).map_err(ProbeError::io("counting CPUs"))?;
        self.counters.set(slot, zeros, 0).map_err(map_error("COUNTERS"))?;
        self.sequence.set(slot, 0, 0).map_err(map_error("SEQUENCE"))
    }

    fn get(&self, slot: u32) -> Result<Counters, ProbeError> {
        let seq = self.sequence.get(&slot, 0).map_err(map_error("SEQUENCE"))?;
        let cpus = self.counters.get(&slot, 0).map_err(map_error("COUNTERS"))?;
        Ok(cpus.iter().map(|bytes| bytemuck::cast::<CountersBytes, Counters>(*bytes)).fold(
            Counters { seq, ..Counters::default() },
            |sum, cpu| Counters {
                seq: sum.seq,
                emitted: sum.emitted + cpu.emitted,
                ring_full: sum.ring_full + cpu.ring_full,
                too_large: sum.too_large + cpu.too_large,
                faults: sum.faults + cpu.faults,
                bytes: sum.bytes + cpu.bytes,
            },
        ))
    }
}

fn map_error(name: &'static str) -> impl Fn(aya::maps::MapError) -> ProbeError {
    move |why| ProbeError::Map { name, why: Box::new(why) }
}

fn program_error(name: &'static str) -> impl Fn(aya::programs::ProgramError) -> ProbeError {
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
