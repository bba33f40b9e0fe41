//! What an agent is told when it starts.

use crate::probe::serial::Policy;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where an agent listens, writes and looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The unix socket for clients and the runtime.
    pub socket: PathBuf,
    /// The TCP address for other agents.
    pub listen: SocketAddr,
    /// The TCP address for Prometheus; none unless asked for.
    pub metrics: Option<SocketAddr>,
    /// Logs, and what must survive the agent.
    pub state_dir: PathBuf,
    /// Docker's unix socket.
    pub docker: PathBuf,
    /// The name that Docker knows the runtime by.
    pub runtime: String,
    /// Bytes that the logs of all containers may take on disk.
    pub spool_limit_bytes: u64,
    /// Go on recording containers that cannot be moved: for measuring.
    pub keep_recording: bool,
    /// Bytes of the ring between kernel and agent; a power of two.
    pub ring_bytes: u32,
    /// Clock reads of containers need be no system calls.
    pub clocks: bool,
    /// When containers are serialised that do not say so themselves.
    pub serialise: Policy,
    /// CPUs for serialised containers; empty: all.
    pub serial_cpus: Vec<usize>,
}
