//! What the agent reports. Times are microseconds of the reporting host's monotonic clock.

use crate::inodes::InodeReport;
use crate::wire::message::Compared;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    pub(in crate::agent) fn take_comparison(&mut self, compared: &Compared, verify_us: u64) {
        self.down.verify_us = verify_us;
        self.pages_compared = Some(compared.pages);
        self.pages_differing = Some(compared.differing.iter().map(|(_, pages)| pages).sum());
        self.differing_by_kind = compared.differing.iter().cloned().collect();
        self.differing_at.clone_from(&compared.places);
        self.tasks_taken = compared.tasks_taken;
    }
}

/// Who owns a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// This host: the copy here is the live one.
    Here,
    /// The agent at HOST:PORT.
    There(String),
    /// The agent at HOST:PORT does not answer and was told `Go`.
    InDoubt(String),
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Runs and is recorded.
    Recording,
    /// Runs; its log has ended: see the reasons.
    Unrecorded,
    /// A replica that follows its log.
    Replaying,
    /// The source of a move, frozen.
    Frozen,
    /// Live after a move. It is not recorded.
    Live,
    /// Was moved away; only the agent's memory of it is here.
    Moved,
    /// Ended.
    Exited,
}

impl std::fmt::Display for ContainerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Created => "created",
            Self::Recording => "recording",
            Self::Unrecorded => "unrecorded",
            Self::Replaying => "replaying",
            Self::Frozen => "frozen",
            Self::Live => "live",
            Self::Moved => "moved",
            Self::Exited => "exited",
        })
    }
}

/// A container as `migrate ps` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    pub id: String,
    pub name: String,
    pub image: String,
    /// Its first process as the host numbers it; 0 when it has none.
    pub pid: i32,
    pub state: ContainerState,
    pub owner: Owner,
    pub migratable: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// In its log.
    pub records: u64,
    /// Of its log, as recorded.
    pub log_bytes: u64,
    /// Of its log, encoded and not compressed.
    #[serde(default)]
    pub encoded_bytes: u64,
    /// Of its log on disk.
    pub spool_bytes: u64,
    /// Its tasks take turns on one CPU, and on which.
    #[serde(default)]
    pub serial: bool,
    #[serde(default)]
    pub cpu: Option<usize>,
    /// How often one of them was put behind the others.
    #[serde(default)]
    pub rotations: u64,
}

/// The outcome of `migrate record`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordReport {
    pub out: PathBuf,
    /// As a shell says it: 128 and the signal when one killed it.
    pub exit_code: i64,
    pub records: u64,
    pub raw_bytes: u64,
    pub file_bytes: u64,
    pub elapsed_us: u64,
    #[serde(with = "text_or_bytes")]
    pub stdout: Vec<u8>,
    #[serde(with = "text_or_bytes")]
    pub stderr: Vec<u8>,
}

/// The outcome of `migrate replay`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    pub file: PathBuf,
    /// Output, exit code and every call were as recorded.
    pub converged: bool,
    pub exit_code: i64,
    pub records: u64,
    /// Of the replay alone.
    pub elapsed_us: u64,
    /// Where it differs, when it did not converge.
    #[serde(default)]
    pub differences: Vec<String>,
    /// With `--verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryReport>,
}

/// The comparison of memory in `migrate replay --verify`: each process at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    pub processes_compared: u64,
    /// Pages of which either side had a copy.
    pub pages_compared: u64,
    /// Those that differed, by the names of [`Kind`].
    pub pages_differing: BTreeMap<String, u64>,
    /// What no correct replay leads to: pages, or mappings.
    pub differences: Vec<String>,
    /// Of which the log has nothing that could be compared.
    pub not_compared: Vec<Unproven>,
    /// Processes that the container's first took with it at its end: what they still did has no witness.
    pub ended_with_first: u64,
}

impl MemoryReport {
    /// Takes what was found of one process.
    pub fn add(&mut self, found: &crate::verify::Taken) {
        self.processes_compared += 1;
        self.pages_compared += found.compared;
        for (kind, pages) in &found.differing {
            *self.pages_differing.entry(kind.name().to_owned()).or_default() += pages;
        }
        self.differences.extend(found.places.iter().cloned());
    }
}

/// A process whose memory was not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    /// Its number in the container.
    pub process: u32,
    pub why: String,
}

/// What the agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Of the program.
    pub version: String,
    pub pid: u32,
    pub uptime_us: u64,
    /// Where it listens for other agents.
    pub listen: String,
    pub state_dir: PathBuf,
    pub containers: u64,
    /// Bytes of all logs on disk, and how many they may be.
    pub spool_bytes: u64,
    pub spool_limit_bytes: u64,
    /// Records lost since it started.
    pub lost_records: u64,
    /// Containers whose tasks take turns on one CPU.
    #[serde(default)]
    pub serial_containers: u64,
    /// How often such tasks were put behind others since it started: behind a call, and where they made none.
    #[serde(default)]
    pub rotations_at_calls: u64,
    #[serde(default)]
    pub rotations_in_user_code: u64,
}

/// How a check of `migrate doctor` went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    Ok,
    /// It works, with a limit.
    Warn,
    /// It will not work.
    Fail,
}

/// One check of `migrate doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A few words, stable.
    pub name: String,
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    #[must_use]
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Ok, found: found.into(), remedy: String::new() }
    }

    #[must_use]
    pub fn warn(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Warn, found: found.into(), remedy: remedy.into() }
    }

    #[must_use]
    pub fn fail(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Fail, found: found.into(), remedy: remedy.into() }
    }
}

/// Output is a string where it is UTF-8, else an array of bytes.
mod text_or_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => to.serialize_str(text),
            Err(_) => bytes.serialize(to),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Either::deserialize(from)? {
            Either::Text(text) => text.into_bytes(),
            Either::Bytes(bytes) => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_survives_the_socket_whether_text_or_not() {
        for stdout in [b"three\n".to_vec(), vec![0xff, 0, b'a']] {
            let report = RecordReport { stdout, ..RecordReport::default() };
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<RecordReport>(&json).unwrap(), report);
        }
    }
}
