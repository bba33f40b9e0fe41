//! What one scrape tells, as plain numbers. Totals are of the agent's life and never fall.

use crate::agent::holds::Held;
use crate::agent::lease::Losses;
use crate::ring;
use std::time::Duration;

/// One look at an agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Readings {
    pub version: String,
    pub kernel_release: String,
    pub lost: Option<Losses>,
    /// Program runs that the kernel skipped.
    pub missed_runs: Option<u64>,
    /// Empty unless the kernel keeps BPF statistics.
    pub programs: Vec<Program>,
    pub ring: Ring,
    pub spool_limit_bytes: u64,
    /// Containers whose log goes on.
    pub recorded: Vec<Container>,
    /// How many containers there are in each state.
    pub states: Vec<(State, u64)>,
    pub moving: u64,
    pub process: Process,
}

/// One eBPF program.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Program {
    pub name: &'static str,
    pub runs: u64,
    pub run_time: Duration,
}

/// The ring between the programs and the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ring {
    pub bytes: u64,
    pub stats: ring::Stats,
    /// How often containers were held because it was filling up, and for how long.
    pub held: Held,
}

/// A container whose log goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Container {
    pub name: String,
    /// The first 12 digits, as `docker ps` shows it.
    pub id: String,
    /// What the programs emitted, the ring's own headers not included.
    pub emitted: u64,
    pub emitted_bytes: u64,
    pub groups: Vec<Group>,
    /// Unpacked.
    pub log_raw_bytes: u64,
    /// As on disk.
    pub log_stored_bytes: u64,
}

/// Records of one group of system calls in a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub name: &'static str,
    pub records: u64,
    /// Bytes that the kernel gave to the container's tasks.
    pub input_bytes: u64,
}

/// What a container is to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its log is whole: it can be moved.
    Migratable,
    /// Its log has ended, or it did what cannot be replayed.
    NotMigratable,
    /// It has ended.
    Exited,
    /// It never had a log.
    Unrecorded,
    /// A copy that is fed a log.
    Replica,
    /// It came from another host.
    Live,
}

impl State {
    pub(super) const ALL: [Self; 6] =
        [Self::Migratable, Self::NotMigratable, Self::Exited, Self::Unrecorded, Self::Replica, Self::Live];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Migratable => "migratable",
            Self::NotMigratable => "not_migratable",
            Self::Exited => "exited",
            Self::Unrecorded => "unrecorded",
            Self::Replica => "replica",
            Self::Live => "live",
        }
    }
}

/// The agent itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub open_descriptors: u64,
    /// Since 1970.
    pub started: Duration,
}
