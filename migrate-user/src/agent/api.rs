//! The agent's unix socket: what the OCI runtime wrapper and the command line say to it.
//!
//! JSON lines. A client connects, writes one [`Request`] a line and reads [`Reply`] lines: any number of
//! `{"progress":…}`, then one `{"done":…}` or `{"error":…}`, which ends the answer. Requests on one connection are
//! answered in order.
//!
//! ```text
//! -> {"op":"prepare","id":"4f1c…","bundle":"/run/containerd/…"}
//! <- {"done":{"kind":"role","role":"record"}}
//! -> {"op":"move","container":"web","to":"10.0.0.2:7420"}
//! <- {"progress":{"phase":"round","message":"round 3: 1204 records","round":{"round":3,…}}}
//! <- {"done":{"kind":"move",…}}
//! ```
//!
//! Lines longer than [`MAX_LINE_BYTES`] and peers other than root are refused. A client that goes away does not stop what
//! it asked for.

mod client;
mod error;
mod report;
mod server;

pub use client::{AsyncClient, BlockingClient, ClientError};
pub use error::{ApiError, Code};
pub use report::{
    AgentStatus, Check, CheckState, ContainerInfo, ContainerState, DownTime, MemoryReport, MoveReport, Owner, Progress,
    RecordReport, ReplayReport, RoundReport, Unproven,
};
pub use server::{Handler, ServeError, bind, serve};

use crate::inodes::Inodes;
use crate::round::policy;
use crate::verify::Verify;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/migrate/agent.sock";

/// The longest line that either side reads.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Runtime, before `runc create`: which role has this container? Answer: [`Response::Role`].
    Prepare { id: String, bundle: PathBuf },
    /// Runtime, after `runc create` and before `start`: the first process is `pid` and runs nothing of the image yet.
    /// `reasons`: what in its configuration cannot be moved. The agent attaches to it before it answers [`Response::Ok`].
    Created { id: String, pid: i32, reasons: Vec<String> },
    /// Replica's last hook before the container's first instruction: its interfaces exist, silence them. Answer:
    /// [`Response::Ok`].
    Mute { id: String, pid: i32 },
    /// Runtime, before `runc exec`. Answer: [`Response::Exec`]; where it is allowed the agent marks the container.
    Exec { id: String },
    /// Runtime, before a command that acts on the container from outside its log (`checkpoint`, `restore`, `update`).
    /// Answer: [`Response::Ok`].
    Touched { id: String, command: String },
    /// Runtime, after `runc delete`. Answer: [`Response::Ok`].
    Deleted { id: String },

    /// The containers of this host. Answer: [`Response::Containers`].
    Ps {},
    /// Moves a container to another agent. Answer: [`Response::Move`].
    Move(MoveRequest),
    /// Runs a program under record to its end. Answer: [`Response::Record`].
    Record(RecordRequest),
    /// Replays a log in a fresh container. Answer: [`Response::Replay`].
    Replay(ReplayRequest),
    /// What the agent finds out about its host, and about another agent's when `to` (HOST:PORT) is given. Answer:
    /// [`Response::Checks`].
    Doctor { to: Option<String> },
    /// Answer: [`Response::Status`].
    Status {},
    /// Decides by hand who owns a container whose move is in doubt. Answer: [`Response::Ok`].
    Resolve { container: String, keep: Keep },
    /// Ends the agent; containers run on. Answer: [`Response::Ok`].
    Shutdown {},
}

/// Arguments of [`Request::Move`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// Name, id, or an id's unique start.
    pub container: String,
    /// HOST:PORT of the other agent.
    pub to: String,
    /// Rounds go on until the last one would take no longer than this.
    #[serde(default = "default_down_time_ms")]
    pub down_time_target_ms: u64,
    #[serde(default = "default_max_rounds")]
    pub max_rounds: u32,
    /// Cuts over after the last round whatever the down time, rather than give up.
    #[serde(default)]
    pub force: bool,
    /// Goes through all checks and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// What is compared before the replica goes live.
    #[serde(default)]
    pub verify: Verify,
    /// Whether programs go on seeing the inode numbers that they know.
    #[serde(default)]
    pub inodes: Inodes,
}

fn default_down_time_ms() -> u64 {
    policy::DEFAULT_DOWN_TIME_TARGET.as_millis() as u64
}

const fn default_max_rounds() -> u32 {
    policy::DEFAULT_MAX_ROUNDS
}

/// Arguments of [`Request::Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordRequest {
    /// Name or id; it must be on this host.
    pub image: String,
    /// Empty: the image's own.
    pub cmd: Vec<String>,
    /// Where the agent writes the log.
    pub out: PathBuf,
    /// `KEY=VALUE`.
    #[serde(default)]
    pub env: Vec<String>,
    /// Kills the program then, and fails.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// `auto`, `always` or `never`; the agent's own way unless given.
    #[serde(default)]
    pub serialise: Option<String>,
}

/// Arguments of [`Request::Replay`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The log, as the agent's mount namespace names it.
    pub file: PathBuf,
    /// Kills the replica then, and fails.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Compares the memory of each process at its end.
    #[serde(default)]
    pub verify: bool,
}

/// Which copy lives on after a move in doubt, seen from the agent that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The copy on this host.
    Here,
    /// The copy on the other host: this one is removed.
    There,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Response {
    Ok {},
    Role(Role),
    Exec { allow: bool, why: String },
    Containers { containers: Vec<ContainerInfo> },
    Move(Box<MoveReport>),
    Record(Box<RecordReport>),
    Replay(Box<ReplayReport>),
    Checks { checks: Vec<Check> },
    Status(AgentStatus),
}

/// What a new container is to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Role {
    /// A container of this host: recorded from its first instruction.
    Record,
    /// A copy that is fed a log. The offsets are added to this host's clocks inside its time namespace, so that
    /// CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where the source's stand.
    Replica { monotonic_offset_ns: i64, boottime_offset_ns: i64 },
}

/// One line from the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Progress(Progress),
    Done(Response),
    Error(ApiError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_s_lines_are_as_documented() {
        let line = r#"{"op":"prepare","id":"a","bundle":"/b"}"#;
        let request = Request::Prepare { id: "a".into(), bundle: "/b".into() };
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        assert_eq!(serde_json::to_string(&request).unwrap(), line);

        let reply = Reply::Done(Response::Role(Role::Record));
        assert_eq!(serde_json::to_string(&reply).unwrap(), r#"{"done":{"kind":"role","role":"record"}}"#);
        let role = Role::Replica { monotonic_offset_ns: -5, boottime_offset_ns: 7 };
        let line = r#"{"done":{"kind":"role","role":"replica","monotonic_offset_ns":-5,"boottime_offset_ns":7}}"#;
        assert_eq!(serde_json::from_str::<Reply>(line).unwrap(), Reply::Done(Response::Role(role)));
    }

    #[test]
    fn a_move_needs_only_a_container_and_a_target() {
        let line = r#"{"op":"move","container":"web","to":"h:1"}"#;
        let Request::Move(request) = serde_json::from_str(line).unwrap() else { panic!("not a move") };
        assert_eq!((request.down_time_target_ms, request.max_rounds, request.dry_run), (200, 30, false));
    }

    #[test]
    fn a_misspelt_field_is_refused_by_name() {
        let line = r#"{"op":"move","container":"web","to":"h:1","dryrun":true}"#;
        let error = serde_json::from_str::<Request>(line).unwrap_err().to_string();
        assert!(error.contains("dryrun"), "{error}");
        let error = serde_json::from_str::<Request>(r#"{"op":"ps","all":1}"#).unwrap_err().to_string();
        assert!(error.contains("all"), "{error}");
    }
}
