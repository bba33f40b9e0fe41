//! Requests of the unix socket.

use super::api::{AgentStatus, ApiError, Code, ContainerInfo, ContainerState, Handler, Owner, Progress, Request, Response};
use super::daemon::{Daemon, Entry};
use super::doctor::{HostChecks, host_checks};
use super::errors::micros;
use crate::wire::durable::{Side, SourceState, TargetState};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The agent as the socket sees it.
#[derive(Clone, Debug)]
pub struct Front(pub Arc<Daemon>);

impl Handler for Front {
    async fn handle(&self, request: Request, progress: mpsc::Sender<Progress>) -> Result<Response, ApiError> {
        let daemon = &self.0;
        match request {
            Request::Prepare { id, bundle } => daemon.prepare(&id, &bundle).await.map(Response::Role),
            Request::Created { id, pid, reasons } => daemon.created(&id, pid, reasons).await.map(|()| Response::Ok {}),
            Request::Mute { id, pid } => daemon.mute(&id, pid).map(|()| Response::Ok {}),
            Request::Exec { id } => {
                let (mut allow, mut why) = daemon.exec_allowed(&id);
                if !allow && matches!(daemon.entry(&id), Some(Entry::Recorded(_))) && exec_wanted(daemon, &id).await {
                    daemon.touched(&id, "exec");
                    (allow, why) = (true, String::new());
                }
                Ok(Response::Exec { allow, why })
            }
            Request::Touched { id, command } => {
                daemon.touched(&id, &command);
                Ok(Response::Ok {})
            }
            Request::Deleted { id } => {
                daemon.deleted(&id);
                Ok(Response::Ok {})
            }
            Request::Ps {} => Ok(Response::Containers { containers: containers(daemon).await }),
            Request::Move(request) => {
                let outcome = super::source::run(daemon, request, &progress).await;
                daemon.moves.requested(&outcome);
                outcome.map(|report| Response::Move(Box::new(report)))
            }
            Request::Record(request) => daemon.record(request).await.map(|report| Response::Record(Box::new(report))),
            Request::Replay(request) => daemon.replay(request).await.map(|report| Response::Replay(Box::new(report))),
            Request::Doctor { to } => {
                let config = &daemon.config;
                let wanted = HostChecks {
                    docker: config.docker.clone(),
                    state_dir: config.state_dir.clone(),
                    runtime: config.runtime.clone(),
                };
                let mut checks = host_checks(&wanted).await;
                if let Some(to) = to {
                    checks.push(super::link::check_peer(daemon, &to).await);
                }
                Ok(Response::Checks { checks })
            }
            Request::Status {} => Ok(Response::Status(status(daemon))),
            Request::Resolve { container, keep } => {
                super::source::resolve(daemon, &container, keep).await.map(|()| Response::Ok {})
            }
            Request::Shutdown {} => {
                // The answer first, then the end.
                tokio::spawn(async {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    std::process::exit(0);
                });
                Ok(Response::Ok {})
            }
        }
    }
}

/// The container was started with the label `migrate.exec=allow`. Docker waits for the answer, so it cannot be asked what locks
/// the container.
async fn exec_wanted(daemon: &Daemon, id: &str) -> bool {
    let listed = daemon.docker.list().await.unwrap_or_default();
    let found = listed.iter().find(|container| container.id == id);
    found.is_some_and(|container| container.labels.get("migrate.exec").is_some_and(|value| value == "allow"))
}

async fn containers(daemon: &Daemon) -> Vec<ContainerInfo> {
    let mut all = Vec::new();
    let listed = daemon.docker.list().await.unwrap_or_default();
    for (id, entry) in daemon.entries() {
        let found = listed.iter().find(|container| container.id == id);
        let (name, image) = found.map(|found| (found.name.clone(), found.image.clone())).unwrap_or_default();
        let mut info = ContainerInfo::unrecorded(id, name, image);
        match entry {
            Entry::Recorded(recording) => {
                let state = recording.state();
                info.pid = recording.init;
                info.cpu = recording.cpu();
                info.serial = info.cpu.is_some();
                let rotations = recording.rotations();
                info.rotations = rotations.at_calls + rotations.in_user_code;
                info.state = match (state.ended, state.reasons.is_empty()) {
                    (true, _) => ContainerState::Exited,
                    (false, true) => ContainerState::Recording,
                    (false, false) => ContainerState::Unrecorded,
                };
                if recording.cgroup.frozen().unwrap_or(false) {
                    info.state = ContainerState::Frozen;
                }
                info.migratable = state.reasons.is_empty() && !state.ended;
                info.reasons = state.reasons;
                info.records = state.totals.records;
                info.log_bytes = state.totals.raw_bytes;
                info.encoded_bytes = state.totals.encoded_bytes;
                info.spool_bytes = state.totals.stored_bytes;
            }
            Entry::Unrecorded { init, reasons } => {
                info.pid = init;
                info.reasons = reasons;
            }
            Entry::Replica { init } => {
                info.pid = init;
                info.state = ContainerState::Replaying;
                info.owner = Owner::There(String::new());
            }
            Entry::Live { init, from } => {
                info.pid = init;
                info.state = ContainerState::Live;
                info.reasons = vec![format!("it came from {from} and is not recorded here")];
            }
        }
        all.push(info);
    }
    let (durables, _) = daemon.store.load().unwrap_or_default();
    for durable in durables {
        let owner = match durable.side {
            Side::Source(SourceState::Committed) => Owner::InDoubt(durable.peer.clone()),
            Side::Source(SourceState::Moved) => Owner::There(durable.peer.clone()),
            Side::Target(TargetState::Live) => Owner::Here,
            _ => continue,
        };
        if let Some(info) = all.iter_mut().find(|info| info.id == durable.container) {
            info.owner = owner;
            continue;
        }
        if matches!(durable.side, Side::Target(_)) {
            // Gone since: it ended, or was removed.
            continue;
        }
        let state = if matches!(owner, Owner::InDoubt(_)) { ContainerState::Frozen } else { ContainerState::Moved };
        all.push(ContainerInfo { state, owner, ..ContainerInfo::unrecorded(durable.container, durable.name, String::new()) });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn status(daemon: &Daemon) -> AgentStatus {
    let spool_bytes = daemon
        .entries()
        .iter()
        .map(|(_, entry)| if let Entry::Recorded(recording) = entry { recording.state().totals.stored_bytes } else { 0 })
        .sum();
    let rotations = daemon.probes.turns.all_rotations();
    AgentStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_us: micros(daemon.started.elapsed()),
        listen: daemon.config.listen.to_string(),
        state_dir: daemon.config.state_dir.clone(),
        containers: daemon.entries().len() as u64,
        spool_bytes,
        spool_limit_bytes: daemon.config.spool_limit_bytes,
        lost_records: daemon.probes.recorder.missed_runs().unwrap_or(0),
        serial_containers: daemon.probes.turns.containers(),
        rotations_at_calls: rotations.at_calls,
        rotations_in_user_code: rotations.in_user_code,
    }
}

/// A container by its id, its id's unique start, or its name.
pub(super) async fn find(daemon: &Daemon, wanted: &str) -> Result<(String, Entry), ApiError> {
    if let Ok(found) = daemon.docker.inspect(wanted).await
        && let Some(entry) = daemon.entry(&found.spec.id)
    {
        return Ok((found.spec.id, entry));
    }
    let message = format!("the agent knows no container {wanted}");
    let remedy = "`migrate ps` lists the containers that were started with --runtime migrate while the agent ran";
    Err(ApiError::new(Code::Usage, message).remedy(remedy))
}
