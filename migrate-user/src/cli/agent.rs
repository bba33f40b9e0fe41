//! `migrate agent`.

use super::{CliError, Global};
use crate::agent::api::Code;
use crate::agent::{self, AgentConfig};
use crate::probe::serial::Policy;
use clap::Args;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

const EXAMPLES: &str = "\
Examples:
  migrate agent                                  # on every host, as root
  migrate agent --listen 10.0.0.1:7077           # reachable by other agents there
  MIGRATE_LOG=debug migrate agent                # says more";

/// Run the daemon that records this host's containers and receives others'.
///
/// It runs in the foreground until SIGTERM, SIGINT or `migrate status --stop`. Containers run on without it, but are no
/// longer recorded, so they cannot be moved any more.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Agent {
    /// Where other agents reach this one.
    #[arg(long, env = "MIGRATE_LISTEN", default_value = "0.0.0.0:7077", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Where Prometheus scrapes `GET /metrics`, as 127.0.0.1:9477; not at all unless given. Anyone who reaches it can read it.
    #[arg(long, env = "MIGRATE_METRICS", value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// Logs, and what must survive a crash. On a disk with room.
    #[arg(long, env = "MIGRATE_STATE_DIR", default_value = "/var/lib/migrate", value_name = "PATH")]
    state_dir: PathBuf,
    /// Docker's unix socket, as a path or unix://PATH.
    #[arg(long, env = "MIGRATE_DOCKER", default_value = crate::container::docker::DEFAULT_SOCKET, value_name = "PATH")]
    docker: String,
    /// The name that Docker knows the runtime by.
    #[arg(long, default_value = "migrate", value_name = "NAME")]
    runtime: String,
    /// How many mebibytes the log of a container may take. A container whose log does not fit runs on, but cannot be moved.
    #[arg(long, default_value_t = 8192, value_name = "MIB")]
    spool_limit_mib: u64,
    /// Go on recording a container that cannot be moved any more, to measure what recording it costs.
    #[arg(long, env = "MIGRATE_KEEP_RECORDING")]
    keep_recording: bool,
    /// Size of the ring between kernel and agent in mebibytes; a power of two.
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = ring_size)]
    ring_mib: u32,
    /// How containers read clocks, from their next image on: `memory`, without a system call, by code of the agent's in the vDSO's place, where
    /// the kernel allows it (Linux 6.16); `calls`, by system calls.
    #[arg(long, env = "MIGRATE_CLOCKS", default_value = "memory", value_name = "HOW")]
    clocks: ClockReads,
    /// When the tasks of a container are made to take turns on one CPU, without which it cannot be moved once they share memory:
    /// `auto`, when they first do; `always`, from the start; `never`. A container says otherwise by the label migrate.serialise.
    #[arg(long, env = "MIGRATE_SERIALISE", default_value = "auto", value_name = "WHEN")]
    serialise: Policy,
    /// CPUs that such containers may have, as 2,3; all unless given.
    #[arg(long, env = "MIGRATE_SERIAL_CPUS", value_name = "LIST", value_delimiter = ',')]
    serial_cpus: Vec<usize>,
}

/// See `migrate agent --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ClockReads {
    Memory,
    Calls,
}

fn ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(mib) if mib.is_power_of_two() && mib <= 1024 => Ok(mib),
        _ => Err("a power of two from 1 to 1024 is wanted".into()),
    }
}

impl Agent {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let filter = EnvFilter::builder().with_env_var("MIGRATE_LOG").with_default_directive(LevelFilter::INFO.into());
        let filter = filter.from_env().map_err(|error| CliError::caused(Code::Usage, "MIGRATE_LOG is no filter", error))?;
        let colours = std::io::stderr().is_terminal();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
        let ended = agent::run(self.config(global));
        ended.map_err(|error| CliError::caused(Code::Failed, "the agent cannot run", error))?;
        Ok(ExitCode::SUCCESS)
    }

    fn config(self, global: &Global) -> AgentConfig {
        AgentConfig {
            socket: global.socket.clone(),
            listen: self.listen,
            metrics: self.metrics,
            state_dir: self.state_dir,
            docker: self.docker.strip_prefix("unix://").unwrap_or(&self.docker).into(),
            runtime: self.runtime,
            spool_limit_bytes: self.spool_limit_mib << 20,
            keep_recording: self.keep_recording,
            ring_bytes: self.ring_mib << 20,
            clocks: self.clocks == ClockReads::Memory,
            serialise: self.serialise,
            serial_cpus: self.serial_cpus,
        }
    }
}
