//! What the agent says of its containers and of itself.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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

impl ContainerInfo {
    /// One of which no more is known than its names.
    #[must_use]
    pub const fn unrecorded(id: String, name: String, image: String) -> Self {
        Self {
            id,
            name,
            image,
            pid: 0,
            state: ContainerState::Unrecorded,
            owner: Owner::Here,
            migratable: false,
            reasons: Vec::new(),
            records: 0,
            log_bytes: 0,
            encoded_bytes: 0,
            spool_bytes: 0,
            serial: false,
            cpu: None,
            rotations: 0,
        }
    }
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
