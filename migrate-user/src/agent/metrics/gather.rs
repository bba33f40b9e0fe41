//! Asks the daemon what a page says.

use super::page;
use super::readings::{Container, Group, Process, Program, Readings, Ring, State};
use crate::agent::daemon::{Daemon, Entry};
use crate::agent::recording::GroupCounts;
use crate::probe::Recorder;
use crate::sys::release;
use migrate_common::syscalls;
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a page waits for Docker to tell names; without one a container goes by its id.
const NAMES_BOUND: Duration = Duration::from_secs(1);
/// Names that are older are asked for again.
const NAMES_AGE: Duration = Duration::from_secs(60);
/// Digits of an id that are shown.
const ID_DIGITS: usize = 12;
/// Bytes of a page of memory; the kernel runs on x86-64 alone.
const PAGE_BYTES: u64 = 4096;

/// Makes pages.
#[derive(Debug)]
pub(super) struct Gatherer {
    daemon: Arc<Daemon>,
    started: SystemTime,
    kernel_release: String,
    names: Mutex<Names>,
}

/// By id. Asked for when a container is new, and again after a while, since it may be renamed.
#[derive(Debug, Default)]
struct Names {
    by_id: HashMap<String, String>,
    asked: Option<Instant>,
}

impl Gatherer {
    pub(super) fn new(daemon: Arc<Daemon>) -> Self {
        let started = SystemTime::now() - daemon.started.elapsed();
        Self { daemon, started, kernel_release: release::name(), names: Mutex::default() }
    }

    /// The page of this moment. What cannot be read is left out, so that a series ends rather than tells a wrong number.
    pub(super) async fn page(self: Arc<Self>) -> String {
        let entries = self.daemon.entries();
        self.learn_names(&entries).await;
        let reading = tokio::task::spawn_blocking(move || page::render(self.read(&entries), &self.daemon.moves));
        reading.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a page of metrics could not be made");
            String::new()
        })
    }

    async fn learn_names(&self, entries: &[(String, Entry)]) {
        let new = self.with_names(|names| {
            names.by_id.retain(|id, _| entries.iter().any(|(known, _)| known == id));
            let old = names.asked.is_none_or(|asked| asked.elapsed() > NAMES_AGE);
            old || entries.iter().any(|(id, _)| !names.by_id.contains_key(id))
        });
        if !new {
            return;
        }
        match tokio::time::timeout(NAMES_BOUND, self.daemon.docker.list()).await {
            Ok(Ok(listed)) => self.with_names(|names| {
                names.by_id = listed.into_iter().map(|found| (found.id, found.name)).collect();
                names.asked = Some(Instant::now());
            }),
            Ok(Err(error)) => tracing::debug!(%error, "Docker does not tell the containers' names"),
            Err(_) => tracing::debug!("Docker does not tell the containers' names in time"),
        }
    }

    fn with_names<T>(&self, f: impl FnOnce(&mut Names) -> T) -> T {
        f(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self, entries: &[(String, Entry)]) -> Readings {
        let Daemon { probes, config, .. } = &*self.daemon;
        let mut states = State::ALL.map(|state| (state, 0));
        let mut recorded = Vec::new();
        for (id, entry) in entries {
            let state = self.look(id, entry, &mut recorded);
            states.iter_mut().filter(|(known, _)| *known == state).for_each(|(_, count)| *count += 1);
        }
        recorded.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Readings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_release: self.kernel_release.clone(),
            lost: told("lost records", probes.losses()),
            missed_runs: told("missed runs", probes.recorder.missed_runs()),
            programs: programs(&probes.recorder),
            ring: Ring { bytes: config.ring_bytes.into(), stats: probes.drain.stats(), held: probes.holds() },
            spool_limit_bytes: config.spool_limit_bytes,
            recorded,
            states: states.to_vec(),
            moving: self.daemon.moving() as u64,
            process: process(self.started),
        }
    }

    /// What a container is; one whose log goes on is added to `recorded`.
    fn look(&self, id: &str, entry: &Entry, recorded: &mut Vec<Container>) -> State {
        let recording = match entry {
            Entry::Recorded(recording) => recording,
            Entry::Unrecorded { .. } => return State::Unrecorded,
            Entry::Replica { .. } => return State::Replica,
            Entry::Live { .. } => return State::Live,
        };
        let state = recording.state();
        if state.ended {
            return State::Exited;
        }
        let short = id.get(..ID_DIGITS).unwrap_or(id);
        let name = self.with_names(|names| names.by_id.get(id).filter(|name| !name.is_empty()).cloned());
        if recording.goes_on()
            && let Ok(counters) = recording.probes.recorder.counters(recording.slot)
        {
            recorded.push(Container {
                name: name.unwrap_or_else(|| short.to_owned()),
                id: short.to_owned(),
                emitted: counters.emitted,
                emitted_bytes: counters.bytes,
                groups: groups(&state.groups),
                log_raw_bytes: state.totals.raw_bytes,
                log_stored_bytes: state.totals.stored_bytes,
            });
        }
        if state.reasons.is_empty() { State::Migratable } else { State::NotMigratable }
    }
}

/// Programs that the kernel has measured runs of.
fn programs(recorder: &Recorder) -> Vec<Program> {
    let costs = told("programs' costs", recorder.costs()).unwrap_or_default();
    let measured = costs.into_iter().filter(|cost| cost.runs > 0);
    measured.map(|cost| Program { name: cost.name, runs: cost.runs, run_time: Duration::from_nanos(cost.run_time_ns) }).collect()
}

fn groups(counts: &GroupCounts) -> Vec<Group> {
    let named = syscalls::Group::ALL.into_iter().map(|group| (group.name(), counts[group as usize]));
    named.map(|(name, count)| Group { name, records: count.records, input_bytes: count.input_bytes }).collect()
}

/// A number, or nothing.
fn told<T>(what: &str, number: Result<T, impl std::fmt::Display>) -> Option<T> {
    number.inspect_err(|error| tracing::error!(%error, what, "the recorder does not tell")).ok()
}

fn process(started: SystemTime) -> Process {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident_pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    Process {
        cpu: Duration::new(u64::try_from(cpu.tv_sec).unwrap_or(0), u32::try_from(cpu.tv_nsec).unwrap_or(0)),
        resident_bytes: resident_pages * PAGE_BYTES,
        open_descriptors: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        started: started.duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}
