//! The receiving side of a move: carries out what [`wire::target`](crate::wire::target) says.

mod actions;
mod inodes;
mod network;
mod proof;

use super::daemon::Daemon;
use super::errors::text;
use super::fault;
use super::host;
use crate::container::docker::Spec;
use crate::golive::{Bytes, Restored};
use crate::inodes::InodeReport;
use crate::replay::replica::Replica;
use crate::wire::durable::{Durable, Side, TargetState};
use crate::wire::message::Prepare;
use crate::wire::target::{Action, Outcome, Output};
use crate::wire::{Message, Target, transport};
use proof::{Comparing, Early};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// A source that says nothing for so long is gone: while it moves a container it seals chunks all the time.
const SILENCE: Duration = Duration::from_secs(60);

/// How long packets may take that follow a container.
const LATE: Duration = Duration::from_secs(1);

/// Serves other agents until the process ends.
pub async fn listen(daemon: Arc<Daemon>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    serve(daemon, stream, peer.to_string()).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of another agent could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What a migration has on this host.
struct Receiving {
    daemon: Arc<Daemon>,
    peer: String,
    durable: Option<Durable>,
    image: PathBuf,
    layer: PathBuf,
    container: Option<String>,
    replica: Option<Replica>,
    restored: Option<Restored>,
    early: Early,
    comparing: Option<Comparing>,
    stragglers: Vec<Bytes>,
    inodes: InodeReport,
    spec: Option<Spec>,
}

impl Receiving {
    /// Nothing has come yet.
    fn new(daemon: &Arc<Daemon>, peer: String) -> Self {
        Self {
            daemon: Arc::clone(daemon),
            peer,
            durable: None,
            image: PathBuf::new(),
            layer: PathBuf::new(),
            container: None,
            replica: None,
            restored: None,
            early: Early::default(),
            comparing: None,
            stragglers: Vec::new(),
            inodes: InodeReport::default(),
            spec: None,
        }
    }
}

async fn serve(daemon: Arc<Daemon>, stream: TcpStream, peer: String) {
    let (mut sender, mut receiver) = transport::split(stream);
    let (forward, mut messages) = tokio::sync::mpsc::channel(4);
    let reading = tokio::spawn(async move {
        loop {
            match receiver.recv().await {
                Ok(Some(message)) => {
                    if forward.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    let _ = forward.send(Err("the source closed it".to_owned())).await;
                    return;
                }
                Err(error) => {
                    let _ = forward.send(Err(error.to_string())).await;
                    return;
                }
            }
        }
    });
    let mut target = Target::new(host::hello(&daemon.docker_version));
    let folder = daemon.config.state_dir.join("receiving");
    let mut receiving = Receiving {
        image: folder.join(format!("{}.image.tar", std::process::id())),
        layer: folder.join(format!("{}.layer.tar", std::process::id())),
        ..Receiving::new(&daemon, peer)
    };
    loop {
        while let Some(action) = target.poll_action() {
            fault::point(fault::Side::Target, target.phase());
            let done = if let Action::Send(message) = action {
                sender.send(&message).await.map(|()| Output::None).map_err(text)
            } else {
                receiving.carry_out(action, &target).await
            };
            match done {
                Ok(output) => target.done(output),
                Err(why) => {
                    tracing::warn!(%why, phase = target.phase().name(), "a step of a migration failed");
                    target.failed(&why);
                }
            }
        }
        if let Some(outcome) = target.outcome() {
            if target.prepared().is_some() {
                daemon.moves.received(matches!(outcome, Outcome::Live));
            }
            match outcome {
                Outcome::Aborted { why } => tracing::info!(%why, "a migration to this host was given up"),
                Outcome::Live => {
                    if let Ok(Some(Ok(Message::Late(late)))) = tokio::time::timeout(LATE, messages.recv()).await {
                        receiving.deliver(late.packets.into_iter().map(|packet| packet.0.into()).collect());
                    }
                }
            }
            break;
        }
        match tokio::time::timeout(SILENCE, messages.recv()).await {
            Ok(Some(Ok(Message::Status(status)))) => {
                // From a source in doubt: what is on disk is the answer, once the restart's clean-up is done.
                let answer = answer_status(&daemon, status.id).await;
                let _ = sender.send(&answer).await;
                break;
            }
            Ok(Some(Ok(message))) => {
                if let Message::Prepare(prepare) = &message
                    && let Some(why) = receiving.objection(prepare).await
                {
                    target.cancel(&why);
                    continue;
                }
                target.handle_message(message);
            }
            Ok(Some(Err(why))) => target.lost(&why),
            Ok(None) => target.lost("the connection ended"),
            Err(_) => target.lost("the source was silent for too long"),
        }
    }
    reading.abort();
    for path in [&receiving.image, &receiving.layer] {
        let _ = std::fs::remove_file(path);
    }
}

/// What this host knows of a migration.
async fn answer_status(daemon: &Daemon, id: crate::wire::MigrationId) -> Message {
    use crate::wire::message::{StatusIs, Verdict};
    let verdict = match daemon.store.find(id, Side::Target(TargetState::Receiving)) {
        Ok(None) => Verdict::Unknown,
        Ok(Some(durable)) => match durable.side {
            Side::Target(TargetState::Live) => Verdict::Live,
            Side::Target(TargetState::Aborted) => Verdict::Aborted,
            _ => Verdict::Undecided,
        },
        Err(error) => {
            tracing::error!(%error, "the state of a migration could not be read");
            Verdict::Undecided
        }
    };
    StatusIs { verdict }.into()
}

impl Receiving {
    /// Why this host does not take the container, beyond what the hellos say.
    async fn objection(&self, prepare: &Prepare) -> Option<String> {
        let spec: Spec = match serde_json::from_slice(&prepare.spec.0) {
            Ok(spec) => spec,
            Err(error) => return Some(format!("the container's description cannot be read: {error}")),
        };
        match self.daemon.docker.inspect(&spec.name).await {
            Ok(_) => Some(format!("this host has a container named {} already", spec.name)),
            Err(error) if error.is_not_found() => None,
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Waits longer with each attempt, up to five seconds.
pub(super) async fn back_off(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep(Duration::from_millis(50 << attempt.min(6))).await;
    }
}

/// Carries on, or clears away, what an agent left that ended in the midst of receiving.
pub async fn recover(daemon: &Arc<Daemon>) {
    let (durables, broken) = daemon.store.load().unwrap_or_default();
    for error in broken {
        tracing::error!(%error, "a migration's state cannot be read: look at it by hand");
    }
    for durable in durables {
        let (Side::Target(state), Ok(id)) = (durable.side, durable.migration()) else { continue };
        let mut target = Target::restart(id, state);
        let mut receiving = Receiving {
            container: (!durable.container.is_empty()).then(|| durable.container.clone()),
            ..Receiving::new(daemon, durable.peer.clone())
        };
        receiving.durable = Some(durable);
        while let Some(action) = target.poll_action() {
            match receiving.carry_out(action, &target).await {
                Ok(output) => target.done(output),
                Err(why) => {
                    tracing::warn!(%why, "a step of a migration's recovery failed");
                    target.failed(&why);
                }
            }
        }
    }
}
