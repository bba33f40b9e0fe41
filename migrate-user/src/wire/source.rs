//! The source's half of a migration.
//!
//! The agent is the executor: it carries out [`Source::poll_action`]'s actions, one after the other, answers each with
//! [`Source::done`] or [`Source::failed`], and tells what happens beside them: messages, a lost connection (a timeout is one), chunks.
//! While one action runs, the other calls are allowed; an abort waits for the action that is running, which the executor may
//! cut short ([`Source::phase`] is [`Phase::Aborting`] then) and answer with `failed`. It closes the connection when a
//! [`Action::Send`] failed, and when there is an [`Source::outcome`] and nothing more to do: so the target learns of either.
//!
//! Failure contract: until [`Action::Write`] of [`SourceState::Committed`] is answered, every failure ends in
//! [`Outcome::Aborted`] with the source running. From then on the source thaws only if the target says that its replica is
//! gone, and is killed only if the target says that it is live.
//!
//! Not every failure ends a migration. What the container's kernel objects hold may be such that it cannot be taken along at this moment
//! ([`Output::NotNow`]). The target has been told of the freeze by nothing but [`Final`], which was not sent: it waits for a round
//! as before. So the source thaws, goes back to [`Phase::Round`], and is to be cut over again, [`CUT_OVERS`] times in all.

use super::actions::{Phase, Queue};
use super::durable::SourceState;
use super::hello::{Hello, PROTOCOL};
use super::message::{
    Abort, Final, Go, Hashes, ImageDone, LayerDone, Memory, Message, MigrationId, Pages, Prepare, Round, Status, Verdict, WINDOW,
};
use crate::round::{Chain, Chunk};

/// How often the source is frozen before a migration is given up because its objects could not be captured any time.
pub const CUT_OVERS: u32 = 10;

/// What the executor is to do. Each may be repeated after a crash and must then do no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the state durably: file and directory are on disk when it is answered.
    Write(SourceState),
    Send(Message),
    /// Send the image as `ImageData` messages.
    SendImage,
    /// Send the extra layer as `LayerData` messages.
    SendLayer,
    /// Freeze the container, mute its interface, drain the ring, close the last chunk.
    Freeze,
    /// Read the frozen container's kernel objects; answered by [`Output::Snapshot`] or [`Output::NotNow`].
    Capture,
    /// Hash the frozen container's memory and read its tasks' registers; answered by [`Output::Memory`].
    Hash,
    /// Read these pages of it; answered by [`Output::Pages`].
    ReadPages(Vec<u8>),
    /// Unmute and thaw, whether or not it was frozen. Repeated until it succeeds; wait longer with each attempt.
    Thaw {
        attempt: u32,
    },
    /// Mute and remove the container. Repeated until it succeeds.
    Kill {
        attempt: u32,
    },
    /// Connect to the target anew and drop the old connection; wait longer with each attempt.
    Connect {
        attempt: u32,
    },
}

/// What an action gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing but success.
    None,
    /// Of [`Action::Capture`].
    Snapshot(Vec<u8>),
    /// Of [`Action::Capture`]: nothing is wrong, but the container must run on before it can be captured; why.
    NotNow(String),
    /// Of [`Action::Hash`].
    Memory(Vec<u8>),
    /// Of [`Action::ReadPages`].
    Pages(Vec<u8>),
}

/// How a migration ended on the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container lives on the target.
    Moved,
    /// The container runs here, as if nothing had been.
    Aborted { why: String },
}

/// The state machine.
#[derive(Debug)]
pub struct Source {
    id: MigrationId,
    phase: Phase,
    ours: Hello,
    prepare: Option<Prepare>,
    queue: Queue<Action>,
    connected: bool,
    chain: Chain,
    sent: u64,
    replayed: u64,
    frozen: bool,
    drained: bool,
    /// How often it was frozen for nothing.
    put_off: u32,
    final_queued: bool,
    memory_queued: bool,
    /// Whether the target has said that it knows nothing of a migration that was committed.
    forgotten: bool,
    attempt: u32,
    why: String,
    outcome: Option<Outcome>,
}

impl Source {
    /// A migration over a connection that has just been made.
    #[must_use]
    pub fn new(ours: Hello, prepare: Prepare) -> Self {
        let mut source = Self::empty(prepare.id, ours);
        source.prepare = Some(prepare);
        source.connected = true;
        source.queue.push(Action::Write(SourceState::Moving));
        source.queue.push(Action::Send(source.ours.clone().into()));
        source
    }

    /// A migration that the agent finds on disk when it starts.
    #[must_use]
    pub fn restart(id: MigrationId, state: SourceState) -> Self {
        let mut source = Self::empty(id, Hello::new());
        match state {
            SourceState::Moving => source.abort("the agent was restarted", false),
            SourceState::Committed => source.doubt(),
            SourceState::Moved => source.end(Outcome::Moved),
            SourceState::Aborted => source.end(Outcome::Aborted { why: "the agent was restarted".to_owned() }),
        }
        source
    }

    fn empty(id: MigrationId, ours: Hello) -> Self {
        Self {
            id,
            phase: Phase::Hello,
            ours,
            prepare: None,
            queue: Queue::new(),
            connected: false,
            chain: Chain::new(&id.0),
            sent: 0,
            replayed: 0,
            frozen: false,
            drained: false,
            put_off: 0,
            final_queued: false,
            memory_queued: false,
            forgotten: false,
            attempt: 0,
            why: String::new(),
            outcome: None,
        }
    }

    /// What is to be done next; `None` while an action is being carried out or nothing is to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.queue.poll()
    }

    /// The action that was polled last succeeded.
    pub fn done(&mut self, output: Output) {
        let Some(action) = self.queue.finish() else { return };
        match (action, output) {
            (Action::Write(SourceState::Committed), _) if self.phase == Phase::Ready => {
                self.phase = Phase::Go;
                self.queue.push(Action::Send(Go {}.into()));
            }
            (Action::Freeze, _) => self.frozen = true,
            (Action::Capture, Output::Snapshot(snapshot)) if self.phase == Phase::Final => {
                let (chunks, digest) = (self.sent, self.chain.link());
                self.final_queued = true;
                self.queue.push(Action::Send(Final { chunks, digest, snapshot: snapshot.into() }.into()));
                if self.verifies() {
                    self.queue.push(Action::Hash);
                }
            }
            (Action::Capture, Output::NotNow(why)) if self.phase == Phase::Final => self.not_now(&why),
            // Only after `NotNow`: whatever else thaws it has left this phase.
            (Action::Thaw { .. }, _) if self.phase == Phase::Final => {
                (self.frozen, self.drained) = (false, false);
                self.phase = Phase::Round;
            }
            (Action::Hash, Output::Memory(bytes)) if self.phase == Phase::Final => {
                self.memory_queued = true;
                self.queue.push(Action::Send(Memory { bytes: bytes.into() }.into()));
            }
            (Action::ReadPages(_), Output::Pages(bytes)) if self.phase == Phase::Final => {
                self.queue.push(Action::Send(Pages { bytes: bytes.into() }.into()));
            }
            (Action::Capture | Action::Hash | Action::ReadPages(_), _) if self.phase == Phase::Final => {
                self.abort("the frozen container gave something else than was asked for", true);
            }
            (Action::Write(SourceState::Aborted), _) => self.end_aborted(),
            (Action::Write(SourceState::Moved), _) => self.end(Outcome::Moved),
            (Action::Connect { .. }, _) if self.phase == Phase::InDoubt => {
                self.connected = true;
                self.queue.push(Action::Send(Status { protocol: PROTOCOL, id: self.id }.into()));
            }
            _ => {}
        }
    }

    /// The action that was polled last failed, or may have failed half way.
    pub fn failed(&mut self, why: &str) {
        let Some(action) = self.queue.finish() else { return };
        match action {
            Action::Send(_) => self.lost(why),
            Action::Thaw { attempt } => self.queue.push_first(Action::Thaw { attempt: attempt.saturating_add(1) }),
            Action::Kill { attempt } => self.queue.push_first(Action::Kill { attempt: attempt.saturating_add(1) }),
            Action::Connect { .. } if self.phase == Phase::InDoubt => self.ask_again(),
            Action::Connect { .. } => {}
            // What is on disk leads a restarted agent to the same end.
            Action::Write(SourceState::Aborted) => self.end_aborted(),
            Action::Write(SourceState::Moved) => self.end(Outcome::Moved),
            Action::Write(_)
            | Action::SendImage
            | Action::SendLayer
            | Action::Freeze
            | Action::Capture
            | Action::Hash
            | Action::ReadPages(_) => {
                if self.is_before_go() {
                    self.abort(why, true);
                }
            }
        }
    }

    /// A message came. Look at `Replayed`, `Ready` and `Live` for their times before they are given here.
    pub fn handle_message(&mut self, message: Message) {
        if self.phase == Phase::InDoubt || self.phase == Phase::Go {
            return self.handle_verdict(&message);
        }
        if !self.is_before_go() {
            return;
        }
        match (self.phase, message) {
            (_, Message::Refuse(refuse)) => self.abort(&format!("the target refuses: {}", refuse.why), false),
            (_, Message::Abort(abort)) => self.abort(&format!("the target gave up: {}", abort.why), false),
            (Phase::Hello, Message::Hello(theirs)) => match (self.ours.check(&theirs), self.prepare.clone()) {
                (Ok(()), Some(prepare)) => {
                    self.phase = Phase::Image;
                    self.queue.push(Action::Send(prepare.into()));
                }
                (Ok(()), None) => self.abort("nothing to prepare", true),
                (Err(mismatch), _) => self.abort(&mismatch.to_string(), true),
            },
            (Phase::Image, Message::NeedImage(need)) if self.all_sent() => {
                if need.needed {
                    self.queue.push(Action::SendImage);
                    self.queue.push(Action::Send(ImageDone {}.into()));
                }
                if self.prepare.as_ref().is_some_and(|prepare| prepare.layer) {
                    self.queue.push(Action::SendLayer);
                    self.queue.push(Action::Send(LayerDone {}.into()));
                }
                self.phase = Phase::Prepare;
            }
            (Phase::Prepare, Message::Prepared(_)) if self.all_sent() => self.phase = Phase::Round,
            (Phase::Round | Phase::Final, Message::Replayed(r)) if r.chunk == self.replayed && self.replayed < self.sent => {
                self.replayed += 1;
            }
            (Phase::Final, Message::Wanted(wanted)) if self.memory_queued && self.all_sent() => {
                self.queue.push(Action::ReadPages(wanted.pages.0));
            }
            (Phase::Final, Message::Ready(ready)) if self.final_queued && self.all_sent() && self.replayed == self.sent => {
                if ready.digest != self.chain.link() {
                    self.abort("the target has replayed another log than was sent", true);
                } else if (ready.compared.is_some(), self.memory_queued) != (self.verifies(), self.verifies()) {
                    self.abort("the target has not compared the memory that it was to compare, or another", true);
                } else {
                    self.phase = Phase::Ready;
                    self.queue.push(Action::Write(SourceState::Committed));
                }
            }
            (phase, message) => self.abort(&unexpected(phase, &message), true),
        }
    }

    /// The connection was lost, or the target was silent for too long.
    pub fn lost(&mut self, why: &str) {
        if !std::mem::take(&mut self.connected) {
            return;
        }
        self.queue.retain(|action| !matches!(action, Action::Send(_)));
        match self.phase {
            Phase::Go => self.doubt(),
            Phase::InDoubt => self.ask_again(),
            _ if self.is_before_go() => self.abort(&format!("the connection was lost: {why}"), false),
            _ => {}
        }
    }

    /// Whether [`Self::chunk`] may be called.
    #[must_use]
    pub const fn wants_chunk(&self) -> bool {
        matches!(self.phase, Phase::Round | Phase::Final) && !self.drained && self.sent - self.replayed < WINDOW
    }

    /// The next chunk of the spool, of this round. Only while [`Self::wants_chunk`].
    pub fn chunk(&mut self, round: u32, chunk: Chunk) {
        if !self.wants_chunk() {
            return;
        }
        self.chain.push(&chunk.header());
        self.sent += 1;
        self.queue.push(Action::Send(Round { round, chunk: chunk.into_bytes().into() }.into()));
    }

    /// Hashes of memory that were made while the container runs. Only in [`Phase::Round`].
    pub fn hashes(&mut self, bytes: Vec<u8>) {
        if self.phase == Phase::Round {
            self.queue.push(Action::Send(Hashes { bytes: bytes.into() }.into()));
        }
    }

    /// The policy has decided for the last round: freezes the container. It may have to be decided again: see [`Self::put_off`].
    pub fn cut_over(&mut self) {
        if self.phase == Phase::Round {
            self.phase = Phase::Final;
            self.queue.push(Action::Freeze);
        }
    }

    /// After [`Action::Freeze`] was answered: every chunk was given to [`Self::chunk`].
    pub fn drained(&mut self) {
        if self.phase == Phase::Final && self.frozen && !self.drained {
            self.drained = true;
            self.queue.push(Action::Capture);
        }
    }

    /// Gives up for a reason of this side's: the policy, the log's limit, the user. Without effect once committed.
    pub fn cancel(&mut self, why: &str) {
        if self.is_before_go() {
            self.abort(why, true);
        }
    }

    /// An operator who knows what became of a target that does not answer decides in its place. Only in doubt.
    pub fn operator(&mut self, verdict: Verdict) {
        if self.phase == Phase::InDoubt {
            self.decide(verdict);
        }
    }

    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    #[must_use]
    pub const fn id(&self) -> MigrationId {
        self.id
    }

    /// Chunks sent, and of those replayed.
    #[must_use]
    pub const fn progress(&self) -> (u64, u64) {
        (self.sent, self.replayed)
    }

    /// How often the container was frozen, could not be captured at that moment, and ran on; the next [`Self::cut_over`] had better
    /// wait a little.
    #[must_use]
    pub const fn put_off(&self) -> u32 {
        self.put_off
    }

    /// In doubt about a migration that the target has no trace of: only [`Self::operator`] can end it.
    #[must_use]
    pub const fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn is_before_go(&self) -> bool {
        self.phase <= Phase::Ready
    }

    fn verifies(&self) -> bool {
        self.prepare.as_ref().is_some_and(|prepare| prepare.verify.is_on())
    }

    /// An answer can overtake the executor's word that the question was sent; nothing more than that may be outstanding.
    fn all_sent(&self) -> bool {
        self.queue.waiting() == 0
    }

    fn handle_verdict(&mut self, message: &Message) {
        match message {
            Message::Live(_) => self.decide(Verdict::Live),
            Message::Abort(abort) => self.abort(&format!("the target could not go live: {}", abort.why), false),
            Message::StatusIs(status) if self.phase == Phase::InDoubt => self.decide(status.verdict),
            // Acknowledgements that were under way, and nothing that could be a verdict.
            _ => {}
        }
    }

    fn decide(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Live => {
                self.phase = Phase::Live;
                self.queue.clear();
                self.queue.push(Action::Kill { attempt: 0 });
                self.queue.push(Action::Write(SourceState::Moved));
            }
            Verdict::Aborted => self.abort("the target could not go live", false),
            Verdict::Undecided => self.ask_again(),
            Verdict::Unknown => {
                self.forgotten = true;
                self.ask_again();
            }
        }
    }

    fn not_now(&mut self, why: &str) {
        self.put_off += 1;
        if self.put_off < CUT_OVERS {
            self.queue.push(Action::Thaw { attempt: 0 });
        } else {
            self.abort(&format!("{why}; it was frozen {CUT_OVERS} times"), true);
        }
    }

    fn doubt(&mut self) {
        self.phase = Phase::InDoubt;
        self.queue.clear();
        self.queue.push(Action::Connect { attempt: 0 });
    }

    fn ask_again(&mut self) {
        self.attempt = self.attempt.saturating_add(1);
        self.connected = false;
        self.queue.clear();
        self.queue.push(Action::Connect { attempt: self.attempt });
    }

    fn abort(&mut self, why: &str, tell: bool) {
        self.phase = Phase::Aborting;
        why.clone_into(&mut self.why);
        self.queue.clear();
        self.queue.push(Action::Thaw { attempt: 0 });
        if tell && self.connected {
            self.queue.push(Action::Send(Abort { why: why.to_owned() }.into()));
        }
        self.queue.push(Action::Write(SourceState::Aborted));
    }

    fn end_aborted(&mut self) {
        let why = std::mem::take(&mut self.why);
        self.end(Outcome::Aborted { why });
    }

    fn end(&mut self, outcome: Outcome) {
        self.phase = Phase::Ended;
        self.outcome = Some(outcome);
    }
}

fn unexpected(phase: Phase, message: &Message) -> String {
    format!("{:?} message in phase {}", message.kind(), phase.name())
}
