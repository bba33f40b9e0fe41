//! The sending side of a move: carries out what [`wire::source`](crate::wire::source) says.

use super::api::{
    ApiError, Code, Keep, MoveReport, MoveRequest, Progress,
};
use super::cutover::{self, CutOver};
use super::daemon::{DEVICE, Daemon, Entry, has_device};
use super::fault;
use super::freeze::freeze;
use super::handler::find;
use super::host;
use super::link::Link;
use super::recording::Recording;
use super::rounds::Rounds;
use super::target::back_off;
use crate::container::docker::{Spec, check_supported};
use crate::golive::{self, CaptureError};
use crate::probe::mute::{Mute, MuteMode};
use crate::round::SpoolReader;
use crate::round::policy::{Decision, Policy};
use crate::golive::stragglers::Stragglers;
use crate::sys::neighbours;
use crate::wire::durable::{Durable, Side, SourceState};
use crate::wire::message::{ImageData, LayerData, Prepare, Verdict};
use crate::wire::source::{Action, Outcome, Output};
use crate::wire::{Message, MigrationId, Phase, Source};
use futures_util::StreamExt as _;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A target that says nothing for so long is gone. Loading an image takes longest.
const SILENCE: Duration = Duration::from_secs(120);
/// How often the log is looked at while rounds are made.
const TICK: Duration = Duration::from_millis(2);
/// How long a committed move waits for the target before its client is told that it is in doubt.
const DOUBT: Duration = Duration::from_secs(3);
/// How often a capture is tried again that met something on its way.
const CAPTURES: u32 = 3;

type Failure = String;

fn text(error: impl std::fmt::Display) -> Failure {
    error.to_string()
}

fn failed(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::Failed, error.to_string())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

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
    stragglers: Option<Stragglers>,
    report: MoveReport,
    frozen_at: Option<Instant>,
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
    let link = Link::connect(&request.to).await.map_err(|why| {
        failed(why).remedy("is `migrate agent` running there, and its port reachable from here?")
    })?;
    let migration = MigrationId(random()?);
    let spec = found.spec;
    let prepare = Prepare {
        id: migration,
        spec: serde_json::to_vec(&spec).map_err(failed)?.into(),
        image: spec.image_id.clone(),
        layer: daemon.layer_path(&id).exists(),
    };
    let mut sending = Sending {
        daemon,
        id: id.clone(),
        durable: Durable::new(migration, Side::Source(SourceState::Moving), &request.to, &id, &spec.name),
        report: MoveReport {
            container: id.clone(),
            name: spec.name.clone(),
            to: request.to.clone(),
            dry_run: request.dry_run,
            ..MoveReport::default()
        },
        recording: Some(recording),
        spec: Some(spec),
        link: Some(link),
        mute: None,
        stragglers: None,
        frozen_at: None,
        patient: false,
        mark: begun,
    };
    if request.dry_run {
        sending.try_hello().await?;
        sending.report.total_us = micros(begun.elapsed());
        return Ok(sending.report);
    }
    let source = Source::new(host::hello(&daemon.docker_version), prepare);
    let policy = Policy {
        down_time_target: Duration::from_millis(request.down_time_target_ms),
        max_rounds: request.max_rounds,
        ..Policy::default()
    };
    let driven = sending.drive(source, &policy, progress).await;
    if driven.as_ref().is_err_and(|error| error.code == Code::InDoubt)
        && let Ok(Some(durable)) = daemon.store.find(migration, Side::Source(SourceState::Committed))
    {
        // Whoever asked for the move need not wait: what is on disk leads on.
        tokio::spawn(ask_on(Arc::clone(daemon), durable));
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

impl Sending<'_> {
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

    async fn drive(
        mut self,
        mut source: Source,
        policy: &Policy,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<(Outcome, MoveReport), ApiError> {
        let mut reader: Option<SpoolReader> = None;
        let mut rounds = Rounds::default();
        let mut heard = Instant::now();
        let mut told = None;
        let mut doubt: Option<Instant> = None;
        loop {
            if source.phase() == Phase::InDoubt
                && !self.patient
                && doubt.get_or_insert_with(Instant::now).elapsed() > DOUBT
                && source.outcome().is_none()
            {
                return Err(in_doubt(&self.durable.peer));
            }
            while let Some(action) = source.poll_action() {
                fault::point(fault::Side::Source, source.phase());
                let is_round = matches!(action, Action::Send(Message::Round(_)));
                let begun = Instant::now();
                let done = self.carry_out(action).await;
                if is_round {
                    rounds.sent(begun.elapsed());
                }
                match done {
                    Ok(output) => source.done(output),
                    Err(why) => {
                        tracing::warn!(%why, phase = source.phase().name(), "a step of a move failed");
                        source.failed(&why);
                    }
                }
                // Answers may have come meanwhile, and the window may be open again; in doubt there is always another action.
                if self.messages_wait() || source.phase() == Phase::InDoubt {
                    break;
                }
            }
            if told != Some(source.phase()) {
                told = Some(source.phase());
                tracing::info!(phase = source.phase().name(), "move");
                let message = format!("{}: {}", self.report.name, source.phase().name());
                let event = Progress { phase: source.phase().name().to_owned(), message, ..Progress::default() };
                // The client may be gone.
                let _ = progress.try_send(event);
            }
            if let Some(outcome) = source.outcome().cloned() {
                self.settle_report(&rounds);
                return Ok((outcome, self.report));
            }
            if matches!(source.phase(), Phase::Round | Phase::Final)
                && let Err(why) = self.feed(&mut source, &mut reader, &mut rounds, policy, progress)
            {
                source.cancel(&why);
                continue;
            }
            let Some(link) = &mut self.link else {
                source.lost("not connected");
                continue;
            };
            match tokio::time::timeout(TICK, link.messages.recv()).await {
                Ok(Some(Ok(message))) => {
                    heard = Instant::now();
                    self.note(&message, &mut rounds);
                    source.handle_message(message);
                }
                Ok(Some(Err(why))) => {
                    self.link = None;
                    source.lost(&why);
                }
                Ok(None) => {
                    self.link = None;
                    source.lost("the connection ended");
                }
                Err(_) if heard.elapsed() > SILENCE => {
                    self.link = None;
                    heard = Instant::now();
                    source.lost("the target was silent for too long");
                }
                Err(_) => {}
            }
        }
    }

    fn messages_wait(&self) -> bool {
        self.link.as_ref().is_some_and(|link| !link.messages.is_empty())
    }

    /// Hands chunks over, and decides about rounds.
    fn feed(
        &mut self,
        source: &mut Source,
        reader: &mut Option<SpoolReader>,
        rounds: &mut Rounds,
        policy: &Policy,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<(), Failure> {
        let recording = self.recording.as_ref().ok_or("the container is not recorded any more")?;
        let state = recording.state();
        if let Some(why) = state.reasons.first() {
            return Err(format!("the container became one that cannot be moved: {why}"));
        }
        if state.ended {
            return Err("the container has ended".to_owned());
        }
        let reader = match reader {
            Some(reader) => reader,
            none => {
                recording.hurry(true);
                let totals = recording.flush(false).map_err(text)?;
                rounds.begin(totals);
                none.insert(recording.reader(0).map_err(text)?)
            }
        };
        while source.wants_chunk() {
            let Some(chunk) = reader.next_chunk().map_err(text)? else { break };
            rounds.shipping(&chunk.header());
            source.chunk(rounds.number(), chunk);
        }
        let (_, replayed) = source.progress();
        if source.phase() == Phase::Final {
            if self.frozen_at.is_some() && reader.behind().chunks == 0 {
                source.drained();
            }
            return Ok(());
        }
        if !rounds.is_over(replayed) {
            return Ok(());
        }
        let totals = recording.seal().map_err(text)?;
        let (decision, round) = rounds.decide(policy, totals);
        let message = format!("round {}: {} records, {} behind", round.round, round.records, round.lag_records);
        let event = Progress { phase: "round".to_owned(), message, round: Some(round), ..Progress::default() };
        let _ = progress.try_send(event);
        match decision {
            Decision::Another => {}
            Decision::Final { .. } => source.cut_over(),
            Decision::GiveUp(why) => return Err(why.to_string()),
        }
        Ok(())
    }

    /// Looks at times in messages before the state machine takes them.
    fn note(&mut self, message: &Message, rounds: &mut Rounds) {
        let since = |mark: &mut Instant| {
            let passed = mark.elapsed();
            *mark = Instant::now();
            micros(passed)
        };
        match message {
            Message::Replayed(replayed) => {
                rounds.replayed(replayed.records, Duration::from_nanos(replayed.replay_ns));
                if self.frozen_at.is_some() {
                    self.report.down.replay_us += replayed.replay_ns / 1000;
                }
            }
            Message::Ready(_) => self.report.down.sockets_us += since(&mut self.mark),
            Message::Live(_) => {
                self.report.down.address_us = since(&mut self.mark);
                self.report.down.total_us = self.frozen_at.map_or(0, |at| micros(at.elapsed()));
            }
            _ => {}
        }
    }

    fn settle_report(&mut self, rounds: &Rounds) {
        let (rounds, log_bytes, compressed) = rounds.report();
        self.report.rounds = rounds;
        self.report.log_bytes = log_bytes;
        self.report.log_bytes_compressed = compressed;
        if let Some(recording) = &self.recording {
            recording.hurry(false);
        }
    }

    async fn carry_out(&mut self, action: Action) -> Result<Output, Failure> {
        match action {
            Action::Write(state) => {
                self.durable.side = Side::Source(state);
                self.daemon.store.write(&self.durable).map_err(text)?;
                Ok(Output::None)
            }
            Action::Send(message) => self.send(&message).await.map(|()| Output::None),
            Action::SendImage => self.send_image().await.map(|()| Output::None),
            Action::SendLayer => self.send_layer().await.map(|()| Output::None),
            Action::Freeze => self.freeze().await.map(|()| Output::None),
            Action::Capture => self.capture().await.map(Output::Snapshot),
            Action::Thaw { attempt } => {
                back_off(attempt).await;
                self.thaw().await.map(|()| Output::None)
            }
            Action::Kill { attempt } => {
                back_off(attempt).await;
                self.kill().await.map(|()| Output::None)
            }
            Action::Connect { attempt } => {
                back_off(attempt).await;
                self.link = None;
                self.link = Some(Link::connect(&self.durable.peer).await?);
                Ok(Output::None)
            }
        }
    }

    async fn send(&mut self, message: &Message) -> Result<(), Failure> {
        let link = self.link.as_mut().ok_or("not connected")?;
        link.sender.send(message).await.map_err(text)
    }

    async fn send_image(&mut self) -> Result<(), Failure> {
        let spec = self.spec.clone().ok_or("the container's description is gone")?;
        let mut tar = Box::pin(self.daemon.docker.image_export(&spec.image_id, &spec.image_names));
        while let Some(part) = tar.next().await {
            let part = part.map_err(text)?;
            for piece in part.chunks(crate::wire::message::DATA_BYTES) {
                self.report.image_bytes += piece.len() as u64;
                self.send(&ImageData { bytes: piece.to_vec().into() }.into()).await?;
            }
        }
        Ok(())
    }

    async fn send_layer(&mut self) -> Result<(), Failure> {
        let bytes = std::fs::read(self.daemon.layer_path(&self.id)).map_err(text)?;
        self.report.layer_bytes = bytes.len() as u64;
        for piece in bytes.chunks(crate::wire::message::DATA_BYTES) {
            self.send(&LayerData { bytes: piece.to_vec().into() }.into()).await?;
        }
        Ok(())
    }

    /// Down time begins here.
    async fn freeze(&mut self) -> Result<(), Failure> {
        let recording = Arc::clone(self.recording.as_ref().ok_or("the container is not recorded any more")?);
        let pid = recording.init;
        let network = has_device(pid);
        if network && self.mute.is_none() {
            self.mute = Some(Mute::attach(pid, DEVICE, &self.id, MuteMode::Pass).map_err(text)?);
        }
        let mute = self.mute.take();
        let done = tokio::task::spawn_blocking(move || freeze(&recording, mute)).await.map_err(text)?;
        let (mute, stragglers, times) = done?;
        self.mute = mute;
        self.stragglers = stragglers;
        self.frozen_at = Some(times.frozen_at);
        self.mark = Instant::now();
        self.report.down.freeze_us = micros(times.freeze);
        self.report.down.last_round_us = micros(times.flush);
        if times.queued > 0 {
            self.report.connections_lost = u64::from(times.queued);
            self.report.warnings.push(format!("{} connections that nobody had accepted were lost", times.queued));
        }
        Ok(())
    }

    async fn capture(&mut self) -> Result<Vec<u8>, Failure> {
        let recording = Arc::clone(self.recording.as_ref().ok_or("the container is not recorded any more")?);
        self.mark = Instant::now();
        let stragglers = self.stragglers.take();
        let captured = tokio::task::spawn_blocking(move || {
            let frozen_ns = host::monotonic_ns();
            let tasks = cutover::tasks(&recording.cgroup)?;
            let mut tries = 0;
            let mut snapshot = loop {
                match golive::capture(&tasks) {
                    Ok(snapshot) => break snapshot,
                    Err(CaptureError::Retry { .. }) if tries < CAPTURES => {
                        tries += 1;
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(error) => return Err(error.to_string()),
                }
            };
            snapshot.signals = recording.pending_signals().ok_or("the signals that wait could not be read")?;
            let mut caught = Vec::new();
            if let Some(mut stragglers) = stragglers {
                let namespace = std::fs::File::open(format!("/proc/{}/ns/net", recording.init)).map_err(text)?;
                snapshot.neighbours = neighbours::known(&namespace, DEVICE).map_err(text)?;
                // Those that are lost are sent again by their sender's timer.
                (caught, _) = stragglers.take().map_err(text)?;
            }
            Ok(CutOver { frozen_ns, snapshot, stragglers: caught })
        });
        let cutover = captured.await.map_err(text)??;
        self.report.connections = cutover.connections();
        postcard::to_stdvec(&cutover).map_err(text)
    }

    /// The container goes on as if nothing had been, whether or not it was frozen.
    async fn thaw(&mut self) -> Result<(), Failure> {
        let (cgroup, pid) = match &self.recording {
            Some(recording) => {
                recording.probes.watch(recording.slot, &recording.cgroup);
                (recording.cgroup.clone(), recording.init)
            }
            None => match self.daemon.docker.inspect(&self.id).await {
                Ok(found) if found.running => (crate::sys::cgroup::Cgroup::of(found.pid).map_err(text)?, found.pid),
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error.to_string()),
            },
        };
        if self.recording.is_none() {
            // An agent that died while it captured may have left connections in repair mode.
            let tasks = cutover::tasks(&cgroup)?;
            golive::leave_repair_mode(&tasks).map_err(text)?;
        }
        match Mute::reopen(&self.id) {
            Ok(mut mute) => mute.set(MuteMode::Pass).map_err(text)?,
            Err(crate::probe::ProbeError::NoMute(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        tokio::task::spawn_blocking(move || cgroup.freezer().thaw()).await.map_err(text)?.map_err(text)?;
        self.frozen_at = None;
        tracing::info!(pid, "the source goes on");
        Ok(())
    }

    /// The container lives elsewhere: this copy goes without a word to its peers.
    async fn kill(&mut self) -> Result<(), Failure> {
        if let Ok(mut mute) = Mute::reopen(&self.id) {
            mute.set(MuteMode::Silent).map_err(text)?;
        }
        if let Some(recording) = &self.recording {
            recording.probes.unwatch(recording.slot);
            // A frozen task cannot die.
            let cgroup = recording.cgroup.clone();
            let path = cgroup.path().join("cgroup.kill");
            if path.exists() {
                std::fs::write(path, "1").map_err(text)?;
            }
        }
        match self.daemon.docker.remove(&self.id).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.to_string()),
        }
        self.recording = None;
        self.daemon.forget(&self.id);
        Ok(())
    }
}

/// An operator says which copy lives on.
pub(super) async fn resolve(daemon: &Arc<Daemon>, container: &str, keep: Keep) -> Result<(), ApiError> {
    let (durables, _) = daemon.store.load().map_err(failed)?;
    let durable = durables.into_iter().find(|durable| {
        durable.side == Side::Source(SourceState::Committed)
            && (durable.container.starts_with(container) || durable.name == container)
    });
    let Some(durable) = durable else {
        return Err(ApiError::new(Code::Usage, format!("no move of {container} from this host is in doubt")));
    };
    let id = durable.migration().map_err(failed)?;
    let mut source = Source::restart(id, SourceState::Committed);
    source.operator(match keep {
        Keep::Here => Verdict::Aborted,
        Keep::There => Verdict::Live,
    });
    let mut sending = Sending::after_restart(daemon, durable);
    while source.outcome().is_none() {
        let Some(action) = source.poll_action() else { break };
        match sending.carry_out(action).await {
            Ok(output) => source.done(output),
            Err(why) => source.failed(&why),
        }
    }
    Ok(())
}

impl<'a> Sending<'a> {
    fn after_restart(daemon: &'a Arc<Daemon>, durable: Durable) -> Self {
        Self {
            daemon,
            id: durable.container.clone(),
            recording: match daemon.entry(&durable.container) {
                Some(Entry::Recorded(recording)) => Some(recording),
                _ => None,
            },
            spec: None,
            durable,
            link: None,
            mute: None,
            stragglers: None,
            report: MoveReport::default(),
            frozen_at: None,
            patient: false,
            mark: Instant::now(),
        }
    }
}

/// Carries on, or undoes, what an agent left that ended in the midst of a move.
pub async fn recover(daemon: Arc<Daemon>) {
    let (durables, _) = daemon.store.load().unwrap_or_default();
    for durable in durables {
        if matches!(durable.side, Side::Source(SourceState::Moving | SourceState::Committed)) {
            tokio::spawn(ask_on(Arc::clone(&daemon), durable));
        }
    }
}

/// Brings a move to its end from what is on disk.
async fn ask_on(daemon: Arc<Daemon>, durable: Durable) {
    let (Side::Source(state), Ok(id)) = (durable.side, durable.migration()) else { return };
    let (progress, _events) = mpsc::channel(1);
    let sending = Sending { patient: true, ..Sending::after_restart(&daemon, durable) };
    match sending.drive(Source::restart(id, state), &Policy::default(), &progress).await {
        Ok((outcome, _)) => tracing::info!(?outcome, "a move that was cut short has ended"),
        Err(error) => tracing::error!(%error, "a move that was cut short could not be ended"),
    }
}
