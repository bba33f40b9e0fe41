//! The loop of a move: actions out, messages in, chunks handed over, rounds decided about.

use super::{SILENCE, Sending, in_doubt};
use crate::agent::api::{ApiError, DownTime, MoveReport, Progress};
use crate::agent::errors::{Failure, micros, text};
use crate::agent::fault;
use crate::agent::recording::{Recording, RecordingError};
use crate::inodes::InodeReport;
use crate::round::policy::{Decision, MIN_ROUND, PATIENCE};
use crate::round::spool::Totals;
use crate::wire::source::{Action, CUT_OVERS, Outcome};
use crate::wire::{Message, Phase, Source};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the log is looked at while rounds are made.
const TICK: Duration = Duration::from_millis(2);
/// How long a container runs on at least that could not be captured when it was frozen: so many times as long as that has happened.
const PUT_OFF: Duration = Duration::from_millis(50);
/// How long a committed move waits for the target before its client is told that it is in doubt.
const DOUBT: Duration = Duration::from_secs(3);

impl Sending<'_> {
    /// Takes a move to its end. Beside the end itself there is one way out: in doubt, unless it is told to be patient.
    pub(super) async fn drive(
        mut self,
        mut source: Source,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<(Outcome, MoveReport), ApiError> {
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
                    self.rounds.sent(begun.elapsed());
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
                let is_back = (told, source.phase()) == (Some(Phase::Final), Phase::Round);
                told = Some(source.phase());
                tracing::info!(phase = source.phase().name(), "move");
                let mut message = format!("{}: {}", self.report.name, source.phase().name());
                if is_back {
                    message.push_str(&format!(", {}", self.put_off(source.put_off())));
                }
                let event = Progress { phase: source.phase().name().to_owned(), message, ..Progress::default() };
                // The client may be gone.
                let _ = progress.try_send(event);
            }
            if let Some(outcome) = source.outcome().cloned() {
                if let Some(recording) = &self.recording {
                    self.proof.end(recording).await;
                }
                self.settle_report();
                return Ok((outcome, self.report));
            }
            if matches!(source.phase(), Phase::Round | Phase::Final)
                && let Err(why) = self.feed(&mut source, progress).await
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
                    self.note(&message);
                    if matches!(message, Message::Live(_)) {
                        self.forward_late().await;
                    }
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
    async fn feed(&mut self, source: &mut Source, progress: &mpsc::Sender<Progress>) -> Result<(), Failure> {
        let recording = self.recording.as_ref().ok_or("the container is not recorded any more")?;
        let state = recording.state();
        if let Some(why) = state.reasons.first() {
            return Err(format!("the container became one that cannot be moved: {why}"));
        }
        if state.ended {
            return Err("the container has ended".to_owned());
        }
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                recording.hurry(true);
                self.rounds.begin(aside(recording, |recording| recording.flush(false)).await?);
                none.insert(recording.reader(0).map_err(text)?)
            }
        };
        // A chunk was written a moment ago: its read does not wait for a disk.
        while source.wants_chunk() {
            let Some(chunk) = reader.next_chunk().map_err(text)? else { break };
            self.rounds.shipping(&chunk.header());
            source.chunk(self.rounds.number(), chunk);
        }
        for hashes in self.proof.passed().await? {
            source.hashes(hashes);
        }
        let (_, replayed) = source.progress();
        if source.phase() == Phase::Final {
            if self.frozen_at.is_some() && reader.behind().chunks == 0 {
                source.drained();
            }
            return Ok(());
        }
        if !self.rounds.is_over(replayed) {
            return Ok(());
        }
        let totals = aside(recording, Recording::seal).await?;
        let (decision, round) = self.rounds.decide(&self.policy, totals);
        let message = format!("round {}: {} records, {} behind", round.round, round.records, round.lag_records);
        let event = Progress { phase: "round".to_owned(), message, round: Some(round), ..Progress::default() };
        // The client may be gone.
        let _ = progress.try_send(event);
        match decision {
            Decision::Another => self.proof.begin_pass(recording),
            Decision::Final { .. } if self.not_before.is_some_and(|at| Instant::now() < at) => {}
            Decision::Final { .. } if !self.proof.may_freeze() => {
                self.proof.begin_pass(recording);
                // It is made only to wait.
                self.policy.max_rounds = self.policy.max_rounds.saturating_add(1);
            }
            Decision::Final { .. } => source.cut_over(),
            Decision::GiveUp(why) => return Err(why.to_string()),
        }
        Ok(())
    }

    /// The container runs on that could not be captured: what follows is as if it had not been frozen. What is to be told.
    fn put_off(&mut self, times: u32) -> String {
        let pause = PUT_OFF * times;
        self.not_before = Some(Instant::now() + pause);
        self.report.down = DownTime::default();
        // Rounds that are made only to wait are none of those that the replica is given to catch up.
        let rounds = pause.as_millis().div_ceil(MIN_ROUND.as_millis()) as u32 + PATIENCE as u32;
        self.policy.max_rounds = self.policy.max_rounds.saturating_add(rounds);
        format!("{}; frozen {times} of {CUT_OVERS} times, again in {} ms", self.not_now, pause.as_millis())
    }

    /// Looks at times in messages before the state machine takes them.
    fn note(&mut self, message: &Message) {
        let since = |mark: &mut Instant| {
            let passed = mark.elapsed();
            *mark = Instant::now();
            micros(passed)
        };
        match message {
            Message::Replayed(replayed) => {
                self.rounds.replayed(replayed.records, Duration::from_nanos(replayed.replay_ns));
                if self.frozen_at.is_some() {
                    self.report.down.replay_us += replayed.replay_ns / 1000;
                }
            }
            Message::Ready(ready) => {
                let passed = since(&mut self.mark);
                let Some(compared) = &ready.compared else {
                    self.report.down.sockets_us += passed;
                    return;
                };
                let verify_us = (compared.verify_ns / 1000).min(passed);
                self.report.down.sockets_us += passed - verify_us;
                self.report.take_comparison(compared, self.proof.hashed, verify_us);
            }
            Message::Live(live) => {
                self.take_inodes(live.inodes);
                self.report.down.address_us = since(&mut self.mark);
                self.report.down.total_us = self.frozen_at.map_or(0, |at| micros(at.elapsed()));
            }
            _ => {}
        }
    }

    fn take_inodes(&mut self, inodes: InodeReport) {
        self.report.inodes = inodes;
        if inodes.needed > 0 && inodes.kept == 0 {
            let needed = inodes.needed;
            self.report.warnings.push(format!("the program knows {needed} files that it holds open by other inode numbers"));
        }
        if inodes.no_new_privs {
            let why = "so that inode numbers could be kept, set-user-id programs in the container give no rights any more";
            self.report.warnings.push(why.to_owned());
        }
    }

    fn settle_report(&mut self) {
        let (rounds, log_bytes, compressed) = self.rounds.report();
        self.report.rounds = rounds;
        self.report.log_bytes = log_bytes;
        self.report.log_bytes_compressed = compressed;
        if self.report.connections_lost > 0 {
            let lost = self.report.connections_lost;
            self.report.warnings.push(format!("{lost} connections that nobody had accepted were lost"));
        }
        if let Some(recording) = &self.recording {
            recording.hurry(false);
        }
    }
}

/// Seals what is in the log, on a thread that may wait for the recorder: other moves and clients are served meanwhile.
async fn aside(
    recording: &Arc<Recording>,
    seal: impl FnOnce(&Recording) -> Result<Totals, RecordingError> + Send + 'static,
) -> Result<Totals, Failure> {
    let recording = Arc::clone(recording);
    tokio::task::spawn_blocking(move || seal(&recording)).await.map_err(text)?.map_err(text)
}
