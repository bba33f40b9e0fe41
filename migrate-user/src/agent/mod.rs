//! The daemon on every host.
//!
//! [`daemon`] knows the host's containers, [`recording`] one that is recorded, [`programs`] runs `migrate record` and `replay`,
//! [`metrics`] is what Prometheus scrapes, [`source`] and [`target`] are the two sides of a move, [`handler`] answers the unix socket.

pub mod api;
mod config;
mod cutover;
pub mod daemon;
pub mod doctor;
mod errors;
pub mod fault;
mod freeze;
pub mod handler;
mod holds;
pub mod host;
mod lease;
mod link;
mod metrics;
pub mod probes;
mod programs;
pub mod recording;
mod restart;
mod rounds;
mod source;
mod target;
mod witness;

pub use config::AgentConfig;

use crate::container::docker::{Docker, DockerError};
use crate::wire::WireError;
use crate::wire::durable::Store;
use daemon::Daemon;
use handler::Front;
use probes::{Probes, ProbesError};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the state directory {path}: {source}")]
    State { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error("the recorder does not run: {0}")]
    Probes(#[from] ProbesError),
    #[error(transparent)]
    Metrics(#[from] metrics::MetricsError),
    #[error(transparent)]
    Serve(#[from] api::ServeError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
}

/// Runs an agent until it is told to end.
///
/// # Errors
/// Before it listens: what it lacks.
pub fn run(config: AgentConfig) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| AgentError::Io { what: "starting the runtime", source })?;
    runtime.block_on(serve(config))
}

async fn serve(config: AgentConfig) -> Result<(), AgentError> {
    let state = |source| AgentError::State { path: config.state_dir.clone(), source };
    std::fs::create_dir_all(&config.state_dir).map_err(state)?;
    clear_logs(&config).map_err(state)?;
    let store = Store::open(&config.state_dir.join("migrations"))?;
    let docker = Docker::connect(&config.docker).await?;
    let docker_version = docker.info().await?.version;
    let probes = Arc::new(Probes::load(config.ring_bytes, config.serial_cpus.clone(), config.clocks)?);
    let listener = tokio::net::TcpListener::bind(config.listen).await;
    let listener = listener.map_err(|source| AgentError::Listen { address: config.listen, source })?;
    let metrics = match config.metrics {
        Some(address) => Some(metrics::Endpoint::bind(address).await?),
        None => None,
    };
    // Last: whoever finds the socket finds an agent that other agents find too.
    let clients = api::bind(&config.socket)?;
    let daemon = Arc::new(Daemon::new(config, docker, docker_version, probes, store));
    target::recover(&daemon).await;
    source::recover(Arc::clone(&daemon)).await;
    tracing::info!(socket = %daemon.config.socket.display(), listen = %daemon.config.listen, "the agent is ready");
    let agents = tokio::spawn(target::listen(Arc::clone(&daemon), listener));
    let metrics = metrics.map(|endpoint| tokio::spawn(endpoint.serve(Arc::clone(&daemon))));
    let front = tokio::spawn(api::serve(clients, Arc::new(Front(Arc::clone(&daemon)))));
    let end = |kind| signal(kind).map_err(|source| AgentError::Io { what: "waiting for signals", source });
    let (mut terminate, mut interrupt) = (end(SignalKind::terminate())?, end(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("the agent ends; its containers run on without a log");
    agents.abort();
    front.abort();
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    Ok(())
}

/// Logs of containers that a former agent recorded: without the gate they ended with it.
fn clear_logs(config: &AgentConfig) -> std::io::Result<()> {
    let folder = config.state_dir.join("containers");
    let released = crate::probe::serial::recover(&folder)?;
    if released > 0 {
        tracing::info!(released, "containers of a former agent do not take turns any more");
    }
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&folder),
    }
}
