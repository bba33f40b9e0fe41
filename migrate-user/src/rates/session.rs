//! A measurement that runs: programs attached, ring drained, containers watched.
//!
//! ```text
//!  Recorder (a ring of its own) -> Drain -> Meter: orders, encodes, compresses, drops
//!        | counters, tallies, costs                  | amounts by group and call
//!        `------------------- Session::sample <------'
//! ```
//!
//! Nothing of the containers is changed: the programs watch tracepoints of the whole host and look for their cgroups' ids.
//! When the session is dropped, or its process dies however, the kernel detaches the programs and frees the maps, for nothing
//! of them is pinned.

use super::before::Before;
use super::dirty::Contents;
use super::meter::Meter;
use super::sample::{Amounts, Mode, ProgramCost, RecorderCost, Ring, Sample, Target};
use super::targets::Found;
use super::{RatesError, blind_spots, tally};
use crate::probe::{self, BpfStats, Options, Recorder, Watch};
use crate::ring::{Drain, DrainOptions};
use crate::sys::cgroup::Cgroup;
use migrate_common::syscalls::GroupSet;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What is measured, and how.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub mode: Mode,
    pub groups: GroupSet,
    /// A power of two of at least a page.
    pub ring_bytes: u32,
    /// Look for dirty pages too.
    pub dirty: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: Mode::Capture, groups: GroupSet::ALL, ring_bytes: 64 << 20, dirty: false }
    }
}

impl Settings {
    fn watch(self) -> Watch {
        let mode = match self.mode {
            Mode::Capture => probe::Mode::Capture,
            Mode::Count => probe::Mode::Count,
        };
        Watch { mode, groups: self.groups }
    }
}

/// A measurement. Dropping it detaches everything.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    recorder: Arc<Recorder>,
    /// None where nothing is captured. Its sinks feed `meter`, so it is dropped first.
    drain: Option<Drain>,
    meter: Option<Meter>,
    containers: Vec<Watched>,
    /// As long as it is there the kernel measures programs' runs.
    stats: Option<BpfStats>,
    started: Instant,
    before: Shared,
}

/// A container that is measured.
#[derive(Debug)]
struct Watched {
    target: Target,
    cgroup: Cgroup,
    slot: u32,
    /// Ids of its cgroup and of those below that the programs know.
    cgroups: HashSet<u64>,
    blind_spots: Vec<String>,
    pages: Option<Contents>,
    before: Before,
    since: Instant,
}

/// What all containers share, at the last sample.
#[derive(Debug, Default)]
struct Shared {
    missed_runs: u64,
    cpu: Duration,
    costs: HashMap<&'static str, ProgramRuns>,
}

/// Runs of a program and their time in nanoseconds.
type ProgramRuns = (u64, u64);

impl Session {
    /// Loads the programs, attaches them and begins to watch the containers.
    ///
    /// # Errors
    /// Without root or eBPF, and as [`RatesError`] says. Nothing is left attached then.
    pub fn attach(found: Vec<Found>, settings: Settings) -> Result<Self, RatesError> {
        let recorder = Arc::new(Recorder::load(Options {
            ring_bytes: settings.ring_bytes,
            tally_slots: u32::try_from(found.len()).unwrap_or(u32::MAX),
            hold: false,
            clocks: false,
        })?);
        // A kernel without them is measured without the programs' costs.
        let stats = BpfStats::enable().inspect_err(|error| tracing::warn!(%error, "the programs' costs are not known")).ok();
        let (drain, meter) = match settings.mode {
            Mode::Capture => {
                let counters = Arc::clone(&recorder);
                let ring = recorder.take_ring().ok_or(RatesError::Ended)?;
                // How full it gets is a number that is shown; a measurement holds nobody.
                let drain = Drain::start(ring, Box::new(counters), Box::new(|_| {}), DrainOptions::default())?;
                (Some(drain), Some(Meter::start()?))
            }
            Mode::Count => (None, None),
        };
        let mut session = Self {
            settings,
            recorder,
            drain,
            meter,
            containers: Vec::new(),
            started: Instant::now(),
            stats,
            before: Shared::default(),
        };
        for found in found {
            session.watch(found)?;
        }
        session.before = session.shared_now()?;
        session.started = Instant::now();
        Ok(session)
    }

    /// Whether some container still has a task.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.containers.iter().any(|watched| watched.cgroup.populated().unwrap_or(false))
    }

    /// One sample a container, of the time since the last call or the attach.
    ///
    /// # Errors
    /// [`RatesError::Ring`], [`RatesError::Probe`], [`RatesError::Pack`], [`RatesError::Ended`].
    pub fn sample(&mut self) -> Result<Vec<Sample>, RatesError> {
        let mut samples = Vec::new();
        for n in 0..self.containers.len() {
            samples.push(self.sample_container(n)?);
        }
        self.forget_gone();
        let (recorder, missed_runs) = self.shared()?;
        for sample in &mut samples {
            sample.recorder = recorder.clone();
            sample.lost.missed_runs = missed_runs;
        }
        Ok(samples)
    }

    fn watch(&mut self, found: Found) -> Result<(), RatesError> {
        let Found { target, cgroup } = found;
        let cgroups = below(cgroup.path());
        let ids: Vec<u64> = cgroups.iter().filter_map(|cgroup| cgroup.id().ok()).collect();
        let blind_spots = blind_spots::of(&cgroups);
        let mut pages = self.settings.dirty.then(Contents::default);
        if let Some(pages) = &mut pages {
            // What is written from here on is told.
            pages.look(&cgroups).map_err(RatesError::Pages)?;
        }
        // The sink comes first, or the first records would find none. Slots of a recorder of one's own are given in order.
        let expected = u32::try_from(self.containers.len()).unwrap_or(u32::MAX);
        if let (Some(drain), Some(meter)) = (&self.drain, &self.meter) {
            drain.add_sink(expected, meter.sink(expected))?;
        }
        let since = Instant::now();
        let slot = self.recorder.watch(&ids, self.settings.watch())?;
        if slot != expected {
            return Err(RatesError::Slot { slot, expected });
        }
        let cgroups = ids.into_iter().collect();
        self.containers.push(Watched { target, cgroup, slot, cgroups, blind_spots, pages, before: Before::default(), since });
        Ok(())
    }

    fn sample_container(&mut self, n: usize) -> Result<Sample, RatesError> {
        let Self { settings, recorder, drain, meter, containers, started, .. } = self;
        let watched = &mut containers[n];
        let cgroups = below(watched.cgroup.path());
        for id in cgroups.iter().filter_map(|cgroup| cgroup.id().ok()) {
            if watched.cgroups.insert(id) {
                recorder.extend(watched.slot, id)?;
            }
        }
        let (groups, missing) = match (drain, meter) {
            (Some(drain), Some(meter)) => {
                drain.flush(watched.slot)?;
                let cut = meter.cut(watched.slot, settings.groups)?;
                (cut.groups, cut.missing)
            }
            _ => {
                let rows = watched.before.counted(recorder.tallies(watched.slot)?);
                (tally::of_counts(rows.into_iter(), settings.groups), 0)
            }
        };
        let dirty = match &mut watched.pages {
            Some(pages) => Some(pages.look(&cgroups).map_err(RatesError::Pages)?),
            None => None,
        };
        let now = Instant::now();
        let mut total = Amounts::default();
        groups.iter().for_each(|group| total += group.amounts);
        Ok(Sample {
            container: watched.target.clone(),
            at_unix_ms: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis),
            elapsed_ns: nanos(now - *started),
            interval_ns: nanos(now - std::mem::replace(&mut watched.since, now)),
            mode: settings.mode,
            total,
            groups,
            lost: watched.before.lost(recorder.counters(watched.slot)?, missing),
            dirty,
            blind_spots: watched.blind_spots.clone(),
            ..Sample::default()
        })
    }

    /// Gives back what is kept for containers whose cgroup is no more. Their slots stay taken, so that slots go on in order.
    fn forget_gone(&mut self) {
        let Self { drain, meter, containers, .. } = self;
        containers.retain(|watched| {
            let gone = watched.cgroup.id().is_err();
            if let (true, Some(drain), Some(meter)) = (gone, &drain, &meter) {
                // The drain's thread has ended only if the session is at its end.
                drop(drain.remove_sink(watched.slot));
                meter.forget(watched.slot);
            }
            !gone
        });
    }

    /// The recorder's cost and the runs that were missed since the last call.
    fn shared(&mut self) -> Result<(RecorderCost, u64), RatesError> {
        let now = self.shared_now()?;
        let before = std::mem::replace(&mut self.before, now);
        let now = &self.before;
        let high_water_bytes = self.drain.as_ref().map_or(0, |drain| drain.stats().most_waiting_bytes);
        let bytes = if self.drain.is_some() { self.settings.ring_bytes.into() } else { 0 };
        let programs = now.costs.iter().map(|(name, (runs, run_time_ns))| {
            let (runs_before, time_before) = before.costs.get(name).copied().unwrap_or_default();
            let (runs, run_time_ns) = (runs - runs_before, run_time_ns - time_before);
            ProgramCost { program: (*name).to_owned(), runs, run_time_ns }
        });
        let mut programs: Vec<ProgramCost> = programs.collect();
        programs.sort_by(|a, b| b.run_time_ns.cmp(&a.run_time_ns).then_with(|| a.program.cmp(&b.program)));
        let cost = RecorderCost {
            programs,
            ring: Ring { bytes, high_water_bytes },
            agent_cpu_ns: nanos(now.cpu.saturating_sub(before.cpu)),
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        };
        Ok((cost, now.missed_runs.saturating_sub(before.missed_runs)))
    }

    fn shared_now(&self) -> Result<Shared, RatesError> {
        let costs = if self.stats.is_some() { self.recorder.costs()? } else { Vec::new() };
        let costs = costs.into_iter().map(|cost| (cost.name, (cost.runs, cost.run_time_ns))).collect();
        Ok(Shared { missed_runs: self.recorder.missed_runs()?, cpu: cpu_time(), costs })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for watched in &self.containers {
            // The programs go away with the recorder in any case.
            drop(self.recorder.remove(watched.slot));
        }
        // The drain's sinks hold ends of the meter's queue: the meter ends when both are gone.
        self.drain = None;
        self.meter = None;
    }
}

/// A cgroup and all below it.
fn below(path: &Path) -> Vec<Cgroup> {
    let mut found = vec![Cgroup::at(path)];
    let mut next = 0;
    while next < found.len() {
        let inner = std::fs::read_dir(found[next].path()).into_iter().flatten().flatten();
        let directories = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let inner: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
        found.extend(inner.into_iter().map(Cgroup::at));
        next += 1;
    }
    found
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    nix::time::clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cgroup_below_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::create_dir_all(dir.path().join("c")).unwrap();
        std::fs::write(dir.path().join("cgroup.procs"), "").unwrap();
        let mut found: Vec<_> =
            below(dir.path()).iter().map(|cgroup| cgroup.path().strip_prefix(dir.path()).unwrap().to_owned()).collect();
        found.sort();
        assert_eq!(found, ["", "a", "a/b", "c"].map(PathBuf::from));
    }
}
