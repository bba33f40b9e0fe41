//! What the agent reports. Times are microseconds of the reporting host's monotonic clock.
//!
//! Here is what a move tells, under way and at its end.

mod checks;
mod containers;
mod programs;

pub use checks::{Check, CheckState};
pub use containers::{AgentStatus, ContainerInfo, ContainerState, Owner};
pub use programs::{MemoryReport, RecordReport, ReplayReport, Unproven};

use crate::inodes::InodeReport;
use crate::wire::message::Compared;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// A phase's name: `hello`, `prepare`, `round` …
    pub phase: String,
    /// One line for people.
    pub message: String,
    /// How far, where that is known: done and total, in the phase's own unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<(u64, u64)>,
    /// A round that has just been acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<RoundReport>,
}

/// One round of a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundReport {
    /// 0 for the first.
    pub round: u32,
    pub records: u64,
    /// Bytes as recorded.
    pub raw_bytes: u64,
    /// Bytes as shipped.
    pub compressed_bytes: u64,
    /// From its first byte sent to its last received.
    pub ship_us: u64,
    /// In the replica.
    pub replay_us: u64,
    /// Records that the source had made and the replica not replayed, when the round was acknowledged.
    pub lag_records: u64,
}

/// From the freeze of the source to the resume of the target, and its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownTime {
    /// Muting the source and freezing its cgroup.
    pub freeze_us: u64,
    /// Draining the ring and shipping what it held.
    pub last_round_us: u64,
    /// Replaying that.
    pub replay_us: u64,
    /// Reading, shipping and building connections and the other kernel objects.
    pub sockets_us: u64,
    /// Comparing memory and registers, and shipping what differed.
    #[serde(default)]
    pub verify_us: u64,
    /// From `Go` to the address announced and the tasks let loose.
    pub address_us: u64,
    /// The whole, measured by itself.
    pub total_us: u64,
}

/// The outcome of a move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MoveReport {
    pub container: String,
    pub name: String,
    /// HOST:PORT of the target.
    pub to: String,
    /// The container lives on the target. False after a dry run.
    pub moved: bool,
    pub dry_run: bool,
    pub rounds: Vec<RoundReport>,
    pub down: DownTime,
    /// How often the container was frozen. Each time but the last it held something that could not be taken along at that moment, and ran on.
    #[serde(default)]
    pub cut_over_tries: u32,
    /// How long it was frozen each time but the last, together.
    #[serde(default)]
    pub undone_freezes_us: u64,
    /// From the command accepted to the target live.
    pub total_us: u64,
    /// Of the base image; 0 when the target had it.
    pub image_bytes: u64,
    /// Of the container's own layer.
    pub layer_bytes: u64,
    /// Of all rounds.
    pub log_bytes: u64,
    pub log_bytes_compressed: u64,
    /// Established TCP connections that were handed over.
    pub connections: u64,
    /// Connections that stood in a listening socket's queue and were lost.
    pub connections_lost: u64,
    /// Memory pages that were compared at cut-over; none when they were not.
    #[serde(default)]
    pub pages_compared: Option<u64>,
    /// Of the source's and the replica's, the larger number of those that were hashed while the source was frozen.
    #[serde(default)]
    pub pages_hashed: Option<u64>,
    /// Those that differed, and were shipped.
    #[serde(default)]
    pub pages_differing: Option<u64>,
    /// What they are of, by the names of [`Kind`](crate::verify::Kind).
    #[serde(default)]
    pub differing_by_kind: BTreeMap<String, u64>,
    /// Where the first of them are.
    #[serde(default)]
    pub differing_at: Vec<String>,
    /// Tasks that computed at the freeze and took the source's registers.
    #[serde(default)]
    pub tasks_taken: u64,
    /// What was done about inode numbers.
    #[serde(default)]
    pub inodes: InodeReport,
    /// What an operator should know although it worked.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl MoveReport {
    /// `hashed`: pages of the source that were hashed during the freeze.
    pub(in crate::agent) fn take_comparison(&mut self, compared: &Compared, hashed: u64, verify_us: u64) {
        self.down.verify_us = verify_us;
        self.pages_compared = Some(compared.pages);
        self.pages_hashed = Some(compared.hashed.max(hashed));
        self.pages_differing = Some(compared.differing.iter().map(|(_, pages)| pages).sum());
        self.differing_by_kind = compared.differing.iter().cloned().collect();
        self.differing_at.clone_from(&compared.places);
        self.tasks_taken = compared.tasks_taken;
    }
}
