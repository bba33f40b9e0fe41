//! The target's half of a migration.
//!
//! Executed as [`source`](super::source) is. The replica is muted from before its interface is up, so until
//! [`Action::Unmute`] it is not live, whatever its tasks do.
//!
//! Failure contract: until [`TargetState::Live`] is on disk, every failure ends with the replica killed, and only then is the
//! source told so. Once it is on disk the replica is never killed. A `Live` that failed to be written may yet be on disk:
//! then nothing is killed and nobody is told before `Aborted` has replaced it.

use super::actions::{Phase, Queue};
use super::durable::TargetState;
use super::hello::{Hello, PROTOCOL};
use super::message::{
    Abort, Breakdown, Compared, Live, Message, MigrationId, NeedImage, Prepare, Prepared, Ready, Refuse, Replayed, StatusIs,
    Verdict, Wanted,
};
use crate::inodes::InodeReport;
use crate::round::{Chain, Chunk};

/// What the executor is to do. Each may be repeated after a crash and must then do no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the state durably: file and directory are on disk when it is answered. Wait longer with each attempt.
    Write {
        state: TargetState,
        attempt: u32,
    },
    Send(Message),
    /// Look whether the image is here; answered by [`Output::Image`].
    CheckImage {
        image: String,
    },
    /// Keep the next piece of the image.
    StoreImage(Vec<u8>),
    /// Give the image that was stored to Docker.
    LoadImage,
    /// Keep the next piece of the extra layer.
    StoreLayer(Vec<u8>),
    /// Make the replica, muted, up to its first record.
    StartReplica(Prepare),
    /// Replay a chunk; answered by [`Output::Replayed`].
    Replay {
        round: u32,
        chunk: Chunk,
    },
    /// Keep these hashes of the source's memory, and hash the replica's.
    Learn(Vec<u8>),
    /// Apply the source's snapshot; answered by [`Output::Parts`].
    Apply(Vec<u8>),
    /// Compare the replica's memory with the source's; answered by [`Output::Differs`] or [`Output::Compared`].
    Compare(Vec<u8>),
    /// Compare these pages, which were asked for, and write those that differ; answered as [`Action::Compare`] is.
    Patch(Vec<u8>),
    /// Let the replica's tasks run on by themselves, still muted.
    Detach,
    /// Unmute and announce the address; answered by [`Output::Live`]. Repeated until it succeeds.
    Unmute {
        attempt: u32,
    },
    /// Remove the replica, if there is one. Repeated until it succeeds.
    Kill {
        attempt: u32,
    },
}

/// What an action gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing but success.
    None,
    /// Whether the image is here.
    Image { present: bool },
    /// How many records, and how long they took.
    Replayed { records: u64, replay_ns: u64 },
    /// The parts of the time that it took.
    Parts(Breakdown),
    /// Pages that the source is to send.
    Differs(Vec<u8>),
    /// The replica's memory is the source's.
    Compared(Compared),
    /// The same of the last step, and what was done about inode numbers.
    Live { breakdown: Breakdown, inodes: InodeReport },
}

/// How a migration ended on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container lives here.
    Live,
    /// Nothing is left of it here.
    Aborted { why: String },
}

/// The state machine.
#[derive(Debug)]
pub struct Target {
    phase: Phase,
    ours: Hello,
    theirs: Option<Hello>,
    prepare: Option<Prepare>,
    id: Option<MigrationId>,
    queue: Queue<Action>,
    connected: bool,
    /// Whether the rest of the image, or of the layer, is still to come.
    wants: Wants,
    chain: Chain,
    received: u64,
    verifying: Verifying,
    /// A `Live` was written without success: it may be on disk.
    live_tried: bool,
    /// A `Status` waits for the end.
    asked: bool,
    why: String,
    outcome: Option<Outcome>,
}

/// How far the comparison of the memory is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verifying {
    /// What [`Action::Apply`] gave, once it was answered.
    applied: Option<Breakdown>,
    /// The source's hashes, until they are compared.
    memory: Option<Vec<u8>>,
    /// Whether they came.
    came: bool,
    /// Pages were asked for.
    asked: bool,
}

/// What the source still has to send before the replica can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wants {
    image: bool,
    layer: bool,
}

impl Target {
    /// For a connection that was just accepted.
    #[must_use]
    pub fn new(ours: Hello) -> Self {
        Self {
            phase: Phase::Hello,
            ours,
            theirs: None,
            prepare: None,
            id: None,
            queue: Queue::new(),
            connected: true,
            wants: Wants::default(),
            chain: Chain::new(&[]),
            received: 0,
            verifying: Verifying::default(),
            live_tried: false,
            asked: false,
            why: String::new(),
            outcome: None,
        }
    }

    /// A migration that the agent finds on disk when it starts.
    #[must_use]
    pub fn restart(id: MigrationId, state: TargetState) -> Self {
        let mut target = Self { id: Some(id), connected: false, ..Self::new(Hello::new()) };
        match state {
            TargetState::Receiving | TargetState::Go => target.abort("the agent was restarted"),
            TargetState::Live => {
                target.phase = Phase::Live;
                target.queue.push(Action::Unmute { attempt: 0 });
            }
            TargetState::Aborted => {
                "the agent was restarted".clone_into(&mut target.why);
                target.phase = Phase::Aborting;
                target.queue.push(Action::Kill { attempt: 0 });
            }
        }
        target
    }

    /// What is to be done next; `None` while an action is being carried out or nothing is to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.queue.poll()
    }

    /// The action that was polled last succeeded.
    pub fn done(&mut self, output: Output) {
        let Some(action) = self.queue.finish() else { return };
        match (action, output) {
            (Action::Kill { .. }, _) => self.killed(),
            (Action::Unmute { .. }, output) => self.unmuted(output),
            (Action::Write { state: TargetState::Aborted, .. }, _) => self.aborted(),
            _ if self.phase >= Phase::Live => {}
            (Action::CheckImage { .. }, Output::Image { present }) => {
                self.wants.image = !present;
                self.push_send(NeedImage { needed: !present });
                self.phase = Phase::Prepare;
                self.start_when_complete();
            }
            (Action::StartReplica(_), _) => {
                self.phase = Phase::Round;
                self.push_send(Prepared {});
            }
            (Action::Replay { round, chunk }, Output::Replayed { records, replay_ns }) => {
                // Before the chunks that wait: the source's window opens by it.
                let chunk = chunk.header().n;
                self.queue.push_first(Action::Send(Replayed { round, chunk, records, replay_ns }.into()));
            }
            (Action::Apply(_), Output::Parts(breakdown)) => {
                self.verifying.applied = Some(breakdown);
                if self.verifies() {
                    self.compare_when_complete();
                } else {
                    self.ready(None);
                }
            }
            (Action::Compare(_) | Action::Patch(_), Output::Differs(pages)) => {
                self.verifying.asked = true;
                self.push_send(Wanted { pages: pages.into() });
            }
            (Action::Compare(_) | Action::Patch(_), Output::Compared(compared)) => self.ready(Some(compared)),
            (Action::Detach, _) => self.push_write(TargetState::Live, 0),
            (Action::Write { state: TargetState::Go, .. }, _) => self.queue.push(Action::Detach),
            (Action::Write { state: TargetState::Live, .. }, _) => {
                self.phase = Phase::Live;
                self.queue.push(Action::Unmute { attempt: 0 });
            }
            (Action::CheckImage { .. } | Action::Replay { .. } | Action::Apply(_) | Action::Compare(_) | Action::Patch(_), _) => {
                self.abort("an action gave something else than was asked for")
            }
            _ => {}
        }
    }

    /// The action that was polled last failed, or may have failed half way.
    pub fn failed(&mut self, why: &str) {
        let Some(action) = self.queue.finish() else { return };
        match action {
            Action::Send(_) => self.lost(why),
            Action::Kill { attempt } => self.queue.push_first(Action::Kill { attempt: attempt.saturating_add(1) }),
            Action::Unmute { attempt } => self.queue.push_first(Action::Unmute { attempt: attempt.saturating_add(1) }),
            Action::Write { state: TargetState::Live, .. } => {
                self.live_tried = true;
                self.abort(why);
            }
            Action::Write { state: TargetState::Aborted, attempt } if self.live_tried => {
                self.queue.push_first(Action::Write { state: TargetState::Aborted, attempt: attempt.saturating_add(1) });
            }
            // What is on disk leads a restarted agent to the same end.
            Action::Write { state: TargetState::Aborted, .. } => self.aborted(),
            _ if self.phase <= Phase::Go => self.abort(why),
            _ => {}
        }
    }

    /// A message came, on this connection or, if it is `Status`, on a new one that replaces it.
    pub fn handle_message(&mut self, message: Message) {
        if let Message::Status(status) = message {
            return self.status(status.id);
        }
        if self.phase > Phase::Ready {
            return;
        }
        match (self.phase, message) {
            (_, Message::Abort(abort)) => self.abort(&format!("the source gave up: {}", abort.why)),
            (Phase::Hello, Message::Hello(theirs)) if self.theirs.is_none() => match self.ours.check(&theirs) {
                Ok(()) => {
                    self.theirs = Some(theirs);
                    self.push_send(self.ours.clone());
                }
                Err(mismatch) => self.refuse(&mismatch.to_string()),
            },
            (Phase::Hello, Message::Prepare(prepare)) if self.theirs.is_some() => {
                self.phase = Phase::Image;
                self.id = Some(prepare.id);
                self.chain = Chain::new(&prepare.id.0);
                self.wants = Wants { image: true, layer: prepare.layer };
                self.push_write(TargetState::Receiving, 0);
                self.queue.push(Action::CheckImage { image: prepare.image.clone() });
                self.prepare = Some(prepare);
            }
            (Phase::Prepare, Message::ImageData(data)) if self.wants.image => self.queue.push(Action::StoreImage(data.bytes.0)),
            (Phase::Prepare, Message::ImageDone(_)) if self.wants.image => {
                self.wants.image = false;
                self.queue.push(Action::LoadImage);
                self.start_when_complete();
            }
            (Phase::Prepare, Message::LayerData(data)) if self.wants == (Wants { image: false, layer: true }) => {
                self.queue.push(Action::StoreLayer(data.bytes.0));
            }
            (Phase::Prepare, Message::LayerDone(_)) if self.wants == (Wants { image: false, layer: true }) => {
                self.wants.layer = false;
                self.start_when_complete();
            }
            (Phase::Round, Message::Round(round)) => match Chunk::parse(round.chunk.0) {
                Ok(chunk) if chunk.header().n == self.received => {
                    self.chain.push(&chunk.header());
                    self.received += 1;
                    self.queue.push(Action::Replay { round: round.round, chunk });
                }
                Ok(chunk) => self.abort(&format!("chunk {} came, {} was due", chunk.header().n, self.received)),
                Err(error) => self.abort(&error.to_string()),
            },
            (Phase::Round, Message::Hashes(hashes)) if self.prepare.as_ref().is_some_and(|prepare| prepare.verify.is_early()) => {
                self.queue.push(Action::Learn(hashes.bytes.0));
            }
            (Phase::Round, Message::Final(last)) => {
                if (last.chunks, last.digest) == (self.received, self.chain.link()) {
                    self.phase = Phase::Final;
                    self.queue.push(Action::Apply(last.snapshot.0));
                } else {
                    self.abort(&format!("{} chunks came, {} were sent, or others", self.received, last.chunks));
                }
            }
            (Phase::Final, Message::Memory(memory)) if self.verifies() && !self.verifying.came => {
                self.verifying.came = true;
                self.verifying.memory = Some(memory.bytes.0);
                self.compare_when_complete();
            }
            (Phase::Final, Message::Pages(pages)) if std::mem::take(&mut self.verifying.asked) => {
                self.queue.push(Action::Patch(pages.bytes.0));
            }
            (Phase::Ready, Message::Go(_)) => {
                self.phase = Phase::Go;
                self.push_write(TargetState::Go, 0);
            }
            (phase, message) => self.abort(&format!("{:?} message in phase {}", message.kind(), phase.name())),
        }
    }

    /// The connection was lost, or the source was silent for too long.
    pub fn lost(&mut self, why: &str) {
        self.connected = false;
        self.queue.retain(|action| !matches!(action, Action::Send(_)));
        if self.phase <= Phase::Ready {
            self.abort(&format!("the connection was lost: {why}"));
        }
    }

    /// Gives up for a reason of this side's, a desync for one. Without effect once `Go` was received.
    pub fn cancel(&mut self, why: &str) {
        if self.phase <= Phase::Ready {
            self.abort(why);
        }
    }

    /// Declines a migration before it has begun: another container has its name, the agent is busy.
    pub fn refuse(&mut self, why: &str) {
        if self.phase == Phase::Hello {
            self.queue.clear();
            self.push_send(Refuse { why: why.to_owned() });
            self.end(Outcome::Aborted { why: why.to_owned() });
        }
    }

    /// Whether the executor may read the next message: holds back a source that sends faster than it is stored.
    #[must_use]
    pub fn wants_message(&self) -> bool {
        self.queue.waiting() < 2 * super::message::WINDOW as usize
    }

    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Known from `Prepare` on.
    #[must_use]
    pub const fn id(&self) -> Option<MigrationId> {
        self.id
    }

    /// What is to be made, once the source has said so.
    #[must_use]
    pub const fn prepared(&self) -> Option<&Prepare> {
        self.prepare.as_ref()
    }

    /// What this host has told the source that it is.
    #[must_use]
    pub const fn own_host(&self) -> &Hello {
        &self.ours
    }

    /// What the source is, once it has said so.
    #[must_use]
    pub const fn source_host(&self) -> Option<&Hello> {
        self.theirs.as_ref()
    }

    /// How it ended, once it has. Actions may still be waiting then: answers to the source.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn status(&mut self, id: MigrationId) {
        self.connected = true;
        if self.id != Some(id) {
            return self.push_send(StatusIs { verdict: Verdict::Unknown });
        }
        // Whoever asks has given up the connection that a `Go` could still come by.
        if self.phase <= Phase::Ready {
            self.abort("the source has lost the connection");
        }
        match (&self.outcome, self.phase) {
            (Some(Outcome::Aborted { .. }), _) => self.push_send(StatusIs { verdict: Verdict::Aborted }),
            (Some(Outcome::Live), _) | (None, Phase::Live) => self.push_send(StatusIs { verdict: Verdict::Live }),
            (None, Phase::Go) => self.push_send(StatusIs { verdict: Verdict::Undecided }),
            (None, _) => self.asked = true,
        }
    }

    fn start_when_complete(&mut self) {
        if let (Wants { image: false, layer: false }, Some(prepare)) = (self.wants, &self.prepare) {
            self.queue.push(Action::StartReplica(prepare.clone()));
        }
    }

    fn verifies(&self) -> bool {
        self.prepare.as_ref().is_some_and(|prepare| prepare.verify.is_on())
    }

    fn compare_when_complete(&mut self) {
        if self.verifying.applied.is_some()
            && let Some(memory) = self.verifying.memory.take()
        {
            self.queue.push(Action::Compare(memory));
        }
    }

    fn ready(&mut self, compared: Option<Compared>) {
        self.phase = Phase::Ready;
        let breakdown = self.verifying.applied.take().unwrap_or_default();
        self.push_send(Ready { digest: self.chain.link(), breakdown, compared });
    }

    fn push_send(&mut self, message: impl Into<Message>) {
        if self.connected {
            self.queue.push(Action::Send(message.into()));
        }
    }

    fn push_write(&mut self, state: TargetState, attempt: u32) {
        self.queue.push(Action::Write { state, attempt });
    }

    fn abort(&mut self, why: &str) {
        self.phase = Phase::Aborting;
        why.clone_into(&mut self.why);
        self.queue.clear();
        if self.id.is_none() {
            // Nothing was begun.
            self.push_send(Abort { why: why.to_owned() });
            return self.end_aborted();
        }
        if self.live_tried {
            self.push_write(TargetState::Aborted, 0);
        } else {
            self.queue.push(Action::Kill { attempt: 0 });
        }
    }

    /// `Aborted` is on disk, or need not be.
    fn aborted(&mut self) {
        if std::mem::take(&mut self.live_tried) {
            self.queue.push(Action::Kill { attempt: 0 });
        } else {
            self.tell_and_end();
        }
    }

    fn killed(&mut self) {
        self.push_write(TargetState::Aborted, 0);
    }

    fn tell_and_end(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.push_send(StatusIs { verdict: Verdict::Aborted });
        } else {
            self.push_send(Abort { why: self.why.clone() });
        }
        self.end_aborted();
    }

    fn unmuted(&mut self, output: Output) {
        let (breakdown, inodes) =
            if let Output::Live { breakdown, inodes } = output { (breakdown, inodes) } else { Default::default() };
        self.push_send(Live { breakdown, inodes });
        self.end(Outcome::Live);
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

/// The first message of a connection that asks about a migration which is not in memory: what to answer from disk, or
/// nothing, if it is no question or needs the state machine first ([`Target::restart`]).
#[must_use]
pub fn answer_unknown(protocol: u16) -> Message {
    if protocol == PROTOCOL {
        StatusIs { verdict: Verdict::Unknown }.into()
    } else {
        Refuse { why: format!("protocol version {PROTOCOL} here, {protocol} there") }.into()
    }
}
