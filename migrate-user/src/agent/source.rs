//! The sending side of a move: carries out what [`wire::source`](crate::wire::source) says.
//!
//! [`drive`] is the loop, [`actions`] what its steps do, [`capture`] the one that reads the frozen container, [`proof`] what the target compares, [`rounds`](super::rounds) the book-keeping, [`resolve`] what comes after an
//! agent's end or from an operator.

mod actions;
mod capture;
mod drive;
mod proof;
mod resolve;

use super::api::{ApiError, Code, MoveReport, MoveRequest, Progress};
use super::daemon::{Daemon, Entry};
use super::errors::{failed, micros};
use super::handler::find;
use super::host;
use super::link::Link;
use super::recording::Recording;
use super::rounds::Rounds;
use crate::container::docker::{Spec, check_supported};
use crate::golive::Bytes;
use crate::golive::stragglers::Stragglers;
use crate::inodes::Inodes;
use crate::probe::mute::Mute;
use crate::round::SpoolReader;
use crate::round::policy::Policy;
use crate::wire::durable::{Durable, Side, SourceState};
use crate::wire::message::Prepare;
use crate::wire::source::Outcome;
use crate::wire::{Message, MigrationId, Source};
use proof::Proof;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub(super) use resolve::{recover, resolve};

/// A target that says nothing for so long is gone. Loading an image takes longest.
const SILENCE: Duration = Duration::from_secs(120);

/// What a move has on this host.
struct Sending<'a> {
    daemon: &'a Arc<Daemon>,
    id: String,
    /// None after a restart of the agent.
    recording: Option<Arc<Recording>>,
    spec: Option<Spec>,
    durable: Durable,
    link: Option<Link>,
    mute: Option<Mute>,
    /// Catches the packets that come to a frozen source.
    stragglers: Option<Stragglers>,
    /// Those that it caught up to the capture.
    caught: Vec<Bytes>,
    proof: Proof,
    /// The log, read as it is written; none before the first round.
    reader: Option<SpoolReader>,
    rounds: Rounds,
    policy: Policy,
    report: MoveReport,
    frozen_at: Option<Instant>,
    /// Why it could not be captured when it was frozen last.
    not_now: String,
    /// It is not frozen again before.
    not_before: Option<Instant>,
    inodes: Inodes,
    /// Nobody waits for the outcome.
    patient: bool,
    /// When the last part of the down time ended.
    mark: Instant,
}

/// Moves a container.
pub async fn run(daemon: &Arc<Daemon>, request: MoveRequest, progress: &mpsc::Sender<Progress>) -> Result<MoveReport, ApiError> {
    let begun = Instant::now();
    let (id, entry) = find(daemon, &request.container).await?;
    let recording = match entry {
        Entry::Recorded(recording) => recording,
        Entry::Unrecorded { reasons, .. } => return Err(refused(reasons)),
        Entry::Live { from, .. } => return Err(refused(vec![format!("it came from {from} and is not recorded here")])),
        Entry::Replica { .. } => return Err(refused(vec!["it is a replica".to_owned()])),
    };
    let _guard = daemon.begin_move(&id, &request.to)?;
    let (durables, _) = daemon.store.load().map_err(failed)?;
    let committed = Side::Source(SourceState::Committed);
    if let Some(durable) = durables.iter().find(|durable| durable.container == id && durable.side == committed) {
        return Err(in_doubt(&durable.peer));
    }
    let found = daemon.docker.inspect(&id).await.map_err(failed)?;
    let mut reasons = recording.state().reasons;
    reasons.extend(check_supported(&found.spec));
    if recording.state().ended {
        reasons.push("it has ended".to_owned());
    }
    if !reasons.is_empty() {
        return Err(refused(reasons));
    }
    let link = Link::connect(&request.to)
        .await
        .map_err(|why| failed(why).remedy("is `migrate agent` running there, and its port reachable from here?"))?;
    let migration = MigrationId(random()?);
    let spec = found.spec;
    let prepare = Prepare {
        id: migration,
        spec: serde_json::to_vec(&spec).map_err(failed)?.into(),
        image: spec.image_id.clone(),
        layer: daemon.layer_path(&id).exists(),
        verify: request.verify,
    };
    let policy = Policy {
        down_time_target: Duration::from_millis(request.down_time_target_ms),
        max_rounds: request.max_rounds,
        ..Policy::default()
    };
    let durable = Durable::new(migration, Side::Source(SourceState::Moving), &request.to, &id, &spec.name);
    let report = MoveReport {
        container: id.clone(),
        name: spec.name.clone(),
        to: request.to.clone(),
        dry_run: request.dry_run,
        ..MoveReport::default()
    };
    let mut sending = Sending {
        recording: Some(recording),
        spec: Some(spec),
        link: Some(link),
        policy,
        inodes: request.inodes,
        report,
        proof: Proof::new(request.verify),
        mark: begun,
        ..Sending::of(daemon, durable)
    };
    if request.dry_run {
        sending.try_hello().await?;
        sending.report.total_us = micros(begun.elapsed());
        return Ok(sending.report);
    }
    let source = Source::new(host::hello(&daemon.docker_version), prepare);
    let driven = sending.drive(source, progress).await;
    if driven.as_ref().is_err_and(|error| error.code == Code::InDoubt)
        && let Ok(Some(durable)) = daemon.store.find(migration, Side::Source(SourceState::Committed))
    {
        // Whoever asked for the move need not wait: what is on disk leads on.
        tokio::spawn(resolve::ask_on(Arc::clone(daemon), durable));
    }
    let (outcome, mut report) = driven?;
    report.total_us = micros(begun.elapsed());
    match outcome {
        Outcome::Moved => {
            report.moved = true;
            Ok(report)
        }
        Outcome::Aborted { why } => {
            Err(failed(format!("the container was not moved: {why}")).remedy("it runs on here, as if nothing had been"))
        }
    }
}

fn in_doubt(peer: &str) -> ApiError {
    let message = format!("the move to {peer} passed its point of no return, and the agent there does not answer");
    let remedy = "this agent asks on; `migrate ps` on both hosts tells who owns the container; `migrate resolve` decides by hand";
    ApiError::new(Code::InDoubt, message).remedy(remedy)
}

fn refused(reasons: Vec<String>) -> ApiError {
    ApiError::new(Code::Refused, "the container cannot be moved").details(reasons)
}

fn random() -> Result<[u8; 16], ApiError> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

impl<'a> Sending<'a> {
    /// A move of which only its durable state is known.
    fn of(daemon: &'a Arc<Daemon>, durable: Durable) -> Self {
        Self {
            daemon,
            id: durable.container.clone(),
            recording: None,
            spec: None,
            durable,
            link: None,
            mute: None,
            stragglers: None,
            caught: Vec::new(),
            proof: Proof::default(),
            reader: None,
            rounds: Rounds::default(),
            policy: Policy::default(),
            report: MoveReport::default(),
            frozen_at: None,
            not_now: String::new(),
            not_before: None,
            inodes: Inodes::default(),
            patient: false,
            mark: Instant::now(),
        }
    }

    /// Compares the hosts and begins nothing.
    async fn try_hello(&mut self) -> Result<(), ApiError> {
        let ours = host::hello(&self.daemon.docker_version);
        let link = self.link.as_mut().ok_or_else(|| failed("not connected"))?;
        link.sender.send(&ours.clone().into()).await.map_err(failed)?;
        match tokio::time::timeout(SILENCE, link.messages.recv()).await {
            Ok(Some(Ok(Message::Hello(theirs)))) => {
                ours.check(&theirs).map_err(|why| ApiError::new(Code::Refused, why.to_string()))
            }
            Ok(Some(Ok(Message::Refuse(refuse)))) => Err(ApiError::new(Code::Refused, refuse.why)),
            Ok(Some(Err(why))) => Err(failed(why)),
            other => Err(failed(format!("the target answered {other:?}"))),
        }
    }
}
