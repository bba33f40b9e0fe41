//! Two hosts in miniature: both state machines, their disks, their containers and the wire between them, driven one
//! operation at a time.
//!
//! Tests and the fuzzer choose the operations, among them crashes of either agent in the middle of an action, actions that
//! fail although they took effect, and connections that break with messages under way. After each one [`World::check`]
//! holds; when nothing more goes wrong, [`World::settle`] runs to the end and [`World::check_end`] holds.

mod ops;

use std::collections::VecDeque;
use std::sync::LazyLock;

use migrate_common::record::{Header, Kind};

pub use ops::{BENIGN, FAULTS, Op};

use super::durable::{SourceState, TargetState};
use super::message::{Compared, ImageData, LayerData, MigrationId, Prepare};
use super::{Hello, Message, Phase, Source, Target, source, target};
use crate::record::Record;
use crate::round::Chunk;
use crate::verify::Verify;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("both copies are live")]
    TwoLive,
    #[error("no copy is live at the end")]
    NoneLive,
    #[error("a replica is live that has not seen everything")]
    Incomplete,
    #[error("the source had ended in {0:?}, but that is not where the container lives")]
    WrongOutcome(source::Outcome),
    #[error("nothing more happens and the source stands in phase {0:?}")]
    Stuck(Phase),
}

/// How many chunks the source makes before it is frozen first. It makes another one each time that it runs on.
const CHUNKS: usize = 3;
/// How often hashes are told at most.
const MOST_TOLD: u8 = 2;

static SPOOL: LazyLock<Vec<Chunk>> = LazyLock::new(|| {
    let record =
        |seq| Record { head: Header { len: 96, kind: Kind::Syscall as u8, seq, ..Header::default() }, payload: Vec::new() };
    (0..CHUNKS as u64 + u64::from(source::CUT_OVERS)).filter_map(|n| Chunk::encode(n, &[record(n)]).ok()).collect()
});

#[derive(Debug, Default)]
struct Connection {
    to_source: VecDeque<Message>,
    to_target: VecDeque<Message>,
    broken: bool,
}

/// The replica; there is none until it is started and after it was killed.
#[derive(Clone, Copy, Debug, Default)]
struct Replica {
    chunks: usize,
    /// It has what the source's kernel objects held at its last freeze.
    snapshot: bool,
    /// Hashes of the source's memory that it was told.
    learned: u8,
    /// Its memory was compared with what the source had told of it, and mended.
    equal: bool,
    detached: bool,
    unmuted: bool,
}

/// The world.
#[derive(Debug)]
pub struct World {
    source: Option<Source>,
    source_up: bool,
    source_running: Option<source::Action>,
    source_disk: Option<SourceState>,
    source_connection: Option<usize>,
    frozen: bool,
    freezes: u8,
    killed: bool,
    /// Chunks that the source has made, and those that its agent has passed on.
    made: usize,
    given: usize,
    /// Hashes that its agent has passed on.
    told: u8,
    target: Option<Target>,
    target_up: bool,
    target_running: Option<target::Action>,
    target_disk: Option<TargetState>,
    target_connection: Option<usize>,
    image_present: bool,
    replica: Option<Replica>,
    connections: Vec<Connection>,
    verify: Verify,
}

const ID: MigrationId = MigrationId([7; 16]);

impl World {
    /// A migration over a fresh connection.
    #[must_use]
    pub fn new(image_present: bool, layer: bool, verify: Verify) -> Self {
        let prepare = Prepare { id: ID, spec: Vec::new().into(), image: "image".to_owned(), layer, verify };
        Self {
            source: Some(Source::new(Hello::new(), prepare)),
            source_up: true,
            source_running: None,
            source_disk: None,
            source_connection: Some(0),
            frozen: false,
            freezes: 0,
            killed: false,
            made: CHUNKS,
            given: 0,
            told: 0,
            target: Some(Target::new(Hello::new())),
            target_up: true,
            target_running: None,
            target_disk: None,
            target_connection: Some(0),
            image_present,
            replica: None,
            connections: vec![Connection::default()],
            verify,
        }
    }

    /// Does `op` if it can happen now, and tells whether it could.
    pub fn apply(&mut self, op: Op) -> bool {
        self.try_apply(op).is_some()
    }

    /// What must always hold.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        let Some(replica) = self.replica.filter(|replica| replica.unmuted) else { return Ok(()) };
        if self.source_lives() {
            return Err(Violation::TwoLive);
        }
        let equal = replica.equal || !self.verify.is_on();
        if replica.chunks != self.made || !replica.snapshot || !replica.detached || !equal {
            return Err(Violation::Incomplete);
        }
        Ok(())
    }

    /// Lets everything that is not a fault happen until nothing does. A source that still waits then runs into its timeout.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn settle(&mut self) -> Result<(), Violation> {
        for _timeout in 0..8 {
            let mut idle = false;
            for _round in 0..1000 {
                idle = true;
                for &op in BENIGN {
                    idle &= !self.apply(op);
                    self.check()?;
                }
                if idle {
                    break;
                }
            }
            if !idle || self.source.as_ref().is_none_or(|source| source.outcome().is_some()) {
                break;
            }
            self.with_source(|source| source.lost("timeout"));
        }
        self.check_end()
    }

    /// What must hold when both agents are up, reach each other, and nothing is left to do.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn check_end(&self) -> Result<(), Violation> {
        self.check()?;
        let replica_lives = self.replica.is_some_and(|replica| replica.unmuted);
        if !self.source_lives() && !replica_lives {
            return Err(Violation::NoneLive);
        }
        let Some(source) = &self.source else { return Ok(()) };
        match source.outcome() {
            None => Err(Violation::Stuck(source.phase())),
            Some(source::Outcome::Moved) if replica_lives && self.killed => Ok(()),
            Some(source::Outcome::Aborted { .. }) if self.source_lives() && self.replica.is_none() => Ok(()),
            Some(outcome) => Err(Violation::WrongOutcome(outcome.clone())),
        }
    }

    /// The source's phase, while its agent is up and knows of the migration.
    #[must_use]
    pub fn source_phase(&self) -> Option<Phase> {
        self.source.as_ref().map(Source::phase)
    }

    /// Whether `Go` was ever on the target's disk.
    #[must_use]
    pub const fn target_disk(&self) -> Option<TargetState> {
        self.target_disk
    }

    /// Whether the container runs on the source.
    #[must_use]
    pub const fn source_lives(&self) -> bool {
        !self.killed && !self.frozen
    }

    fn with_source(&mut self, f: impl FnOnce(&mut Source)) -> Option<()> {
        self.source.as_mut().map(f)
    }

    fn try_apply(&mut self, op: Op) -> Option<()> {
        match op {
            Op::SourceStart if self.source_running.is_none() => {
                let source = self.source.as_mut()?;
                self.source_running = source.poll_action();
                if self.source_running.is_none() && source.outcome().is_some() {
                    let connection = self.source_connection.take();
                    return connection.map(|at| self.break_connection(Some(at)));
                }
                self.source_running.as_ref().map(|_| ())
            }
            Op::SourceDone => {
                let action = self.source_running.take()?;
                let result = self.source_effect(&action);
                let source = self.source.as_mut()?;
                match result {
                    Some(output) => source.done(output),
                    None => source.failed("no way"),
                }
                Some(())
            }
            Op::NotNow => {
                self.source_running.take_if(|action| *action == source::Action::Capture)?;
                self.with_source(|source| source.done(source::Output::NotNow("something is on its way".to_owned())))
            }
            Op::SourceFail | Op::SourceFailLate => {
                let action = self.source_running.take()?;
                if op == Op::SourceFailLate {
                    self.source_effect(&action);
                }
                if matches!(action, source::Action::Send(_)) {
                    self.break_connection(self.source_connection);
                }
                self.with_source(|source| source.failed("fault"))
            }
            Op::SourceCrash | Op::SourceCrashLate if self.source_up => {
                let action = self.source_running.take();
                if op == Op::SourceCrashLate {
                    self.source_effect(&action?);
                }
                (self.source, self.source_up) = (None, false);
                let connection = self.source_connection.take();
                self.break_connection(connection);
                Some(())
            }
            Op::SourceRestart if !self.source_up => {
                self.source_up = true;
                self.source = self.source_disk.map(|state| Source::restart(ID, state));
                Some(())
            }
            Op::ToSource => {
                let at = self.source_connection?;
                let message = self.connections[at].to_source.pop_front()?;
                self.with_source(|source| source.handle_message(message))
            }
            Op::SourceLost => {
                let at = self.source_connection.filter(|&at| self.connections[at].broken)?;
                self.source_connection = None;
                self.connections[at].to_source.clear();
                self.with_source(|source| source.lost("broken"))
            }
            Op::Break => {
                let at = self.connections.len() - 1;
                (!self.connections[at].broken).then(|| self.break_connection(Some(at)))
            }
            Op::Chunk => {
                let chunk = SPOOL[..self.made].get(self.given)?.clone();
                let source = self.source.as_mut().filter(|source| source.wants_chunk())?;
                source.chunk(0, chunk);
                self.given += 1;
                Some(())
            }
            Op::Hashes if self.verify.is_early() && self.told < MOST_TOLD && self.source_phase() == Some(Phase::Round) => {
                self.told += 1;
                let told = self.told;
                self.with_source(|source| source.hashes(vec![told]))
            }
            Op::CutOver if self.given > 0 && self.source_phase() == Some(Phase::Round) => self.with_source(Source::cut_over),
            Op::Drained if self.given == self.made && self.frozen && self.source_phase() == Some(Phase::Final) => {
                let source = self.source.as_mut()?;
                source.wants_chunk().then(|| source.drained())
            }
            Op::SourceCancel => self.source.as_mut().filter(|s| s.phase() <= Phase::Ready).map(|s| s.cancel("cancelled")),
            _ => self.try_apply_target(op),
        }
    }

    fn try_apply_target(&mut self, op: Op) -> Option<()> {
        match op {
            Op::TargetStart if self.target_running.is_none() => {
                let target = self.target.as_mut()?;
                self.target_running = target.poll_action();
                if self.target_running.is_none() && target.outcome().is_some() {
                    let connection = self.target_connection.take();
                    return connection.map(|at| self.break_connection(Some(at)));
                }
                self.target_running.as_ref().map(|_| ())
            }
            Op::TargetDone => {
                let action = self.target_running.take()?;
                let result = self.target_effect(&action);
                let target = self.target.as_mut()?;
                match result {
                    Some(output) => target.done(output),
                    None => target.failed("no way"),
                }
                Some(())
            }
            Op::TargetFail | Op::TargetFailLate => {
                let action = self.target_running.take()?;
                if op == Op::TargetFailLate {
                    self.target_effect(&action);
                }
                if matches!(action, target::Action::Send(_)) {
                    self.break_connection(self.target_connection);
                }
                self.target.as_mut().map(|target| target.failed("fault"))
            }
            Op::TargetCrash | Op::TargetCrashLate if self.target_up => {
                let action = self.target_running.take();
                if op == Op::TargetCrashLate {
                    self.target_effect(&action?);
                }
                (self.target, self.target_up) = (None, false);
                let connection = self.target_connection.take();
                self.break_connection(connection);
                // Nobody accepts what was sent to the agent that died, on whatever connection.
                self.connections.iter_mut().for_each(|connection| connection.to_target.clear());
                Some(())
            }
            Op::TargetRestart if !self.target_up => {
                self.target_up = true;
                self.target = self.target_disk.map(|state| Target::restart(ID, state));
                Some(())
            }
            Op::ToTarget => self.deliver_to_target(self.connections.iter().position(|c| !c.to_target.is_empty())?),
            Op::ToTargetNewest => {
                let at = self.connections.iter().rposition(|c| !c.to_target.is_empty())?;
                let overtakes = self.connections[..at].iter().any(|c| !c.to_target.is_empty());
                overtakes.then(|| self.deliver_to_target(at))?
            }
            Op::TargetLost => {
                let at = self.target_connection.filter(|&at| self.connections[at].broken)?;
                self.target_connection = None;
                self.connections[at].to_target.clear();
                self.target.as_mut().map(|target| target.lost("broken"))
            }
            Op::TargetCancel => self.target.as_mut().filter(|t| t.phase() <= Phase::Ready).map(|t| t.cancel("desync")),
            _ => None,
        }
    }

    fn break_connection(&mut self, at: Option<usize>) {
        if let Some(at) = at {
            self.connections[at].broken = true;
        }
    }

    /// Messages of a connection that was replaced arrive too: the machine must bear what a careless executor passes on.
    fn deliver_to_target(&mut self, at: usize) -> Option<()> {
        let message = self.connections[at].to_target.pop_front()?;
        if matches!(message, Message::Status(_)) {
            self.target_connection = Some(at);
        }
        match (&mut self.target, message) {
            (Some(target), message) => target.handle_message(message),
            (None, Message::Status(status)) if self.target_up => {
                self.connections[at].to_source.push_back(target::answer_unknown(status.protocol));
            }
            (None, _) => {}
        }
        Some(())
    }

    /// What the action does to the world; `None` if it cannot succeed.
    fn source_effect(&mut self, action: &source::Action) -> Option<source::Output> {
        match action {
            source::Action::Write(state) => self.source_disk = Some(*state),
            source::Action::Send(message) => self.send_to_target(message.clone()),
            source::Action::SendImage => (0..2).for_each(|_| self.send_to_target(ImageData { bytes: vec![1].into() }.into())),
            source::Action::SendLayer => self.send_to_target(LayerData { bytes: vec![2].into() }.into()),
            source::Action::Freeze => {
                self.frozen = true;
                self.freezes = self.freezes.wrapping_add(1);
            }
            // Of a container that runs nothing of this is true for long.
            source::Action::Capture | source::Action::Hash | source::Action::ReadPages(_) if !self.frozen => return None,
            source::Action::Capture => return Some(source::Output::Snapshot(vec![self.freezes])),
            source::Action::Hash => return Some(source::Output::Memory(vec![self.told])),
            source::Action::ReadPages(pages) => return Some(source::Output::Pages(pages.clone())),
            source::Action::Thaw { .. } => {
                self.made = SPOOL.len().min(self.made + usize::from(self.frozen));
                self.frozen = false;
            }
            source::Action::Kill { .. } => self.killed = true,
            source::Action::Connect { .. } if self.target_up => {
                self.break_connection(self.source_connection);
                self.source_connection = Some(self.connections.len());
                self.connections.push(Connection::default());
            }
            source::Action::Connect { .. } => return None,
        }
        Some(source::Output::None)
    }

    fn send_to_target(&mut self, message: Message) {
        let connection = self.source_connection.map(|at| &mut self.connections[at]);
        if let Some(connection) = connection.filter(|connection| !connection.broken) {
            connection.to_target.push_back(message);
        }
    }

    fn target_effect(&mut self, action: &target::Action) -> Option<target::Output> {
        match action {
            target::Action::Write { state, .. } => self.target_disk = Some(*state),
            target::Action::Send(message) => {
                let connection = self.target_connection.map(|at| &mut self.connections[at]);
                if let Some(connection) = connection.filter(|connection| !connection.broken) {
                    connection.to_source.push_back(message.clone());
                }
            }
            target::Action::CheckImage { .. } => return Some(target::Output::Image { present: self.image_present }),
            target::Action::StoreImage(_) | target::Action::StoreLayer(_) => {}
            target::Action::LoadImage => self.image_present = true,
            target::Action::StartReplica(_) => {
                if !self.image_present {
                    return None;
                }
                self.replica = Some(Replica::default());
            }
            target::Action::Replay { .. } => {
                self.replica.as_mut()?.chunks += 1;
                return Some(target::Output::Replayed { records: 1, replay_ns: 1 });
            }
            target::Action::Apply(snapshot) => {
                self.replica.as_mut()?.snapshot = *snapshot == [self.freezes];
                return Some(target::Output::Parts(Vec::new()));
            }
            target::Action::Learn(told) => {
                let replica = self.replica.as_mut()?;
                replica.learned += 1;
                return (*told == [replica.learned]).then_some(target::Output::None);
            }
            // What the source has told earlier it does not tell again.
            target::Action::Compare(told) if *told != [self.replica?.learned] => return None,
            // Twice something differs.
            target::Action::Compare(_) => return Some(target::Output::Differs(vec![1])),
            target::Action::Patch(pages) if pages == &[1] => return Some(target::Output::Differs(vec![2])),
            target::Action::Patch(_) => {
                self.replica.as_mut()?.equal = true;
                return Some(target::Output::Compared(Compared::default()));
            }
            target::Action::Detach => self.replica.as_mut()?.detached = true,
            target::Action::Unmute { .. } => {
                self.replica.as_mut()?.unmuted = true;
                return Some(target::Output::Live { breakdown: Vec::new(), inodes: crate::inodes::InodeReport::default() });
            }
            target::Action::Kill { .. } => self.replica = None,
        }
        Some(target::Output::None)
    }
}

/// Drives a world with arbitrary bytes, each an operation, then lets it settle. The first byte chooses what must be sent.
///
/// # Errors
/// [`Violation`].
pub fn run(bytes: &[u8]) -> Result<(), Violation> {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let verify = [Verify::All, Verify::Off, Verify::Touched, Verify::Touched][usize::from(first >> 2 & 3)];
    let mut world = World::new(first & 1 == 0, first & 2 == 0, verify);
    for byte in rest {
        let ops = if byte & 0x80 == 0 { BENIGN } else { FAULTS };
        world.apply(ops[usize::from(byte & 0x7f) % ops.len()]);
        world.check()?;
    }
    world.settle()
}

/// Feeds both machines the same messages, whatever they are, as a hostile peer would, and lets their actions succeed.
pub fn run_hostile(messages: impl IntoIterator<Item = Message>) {
    let mut world = World::new(true, true, Verify::Touched);
    for message in messages {
        if let Some(source) = &mut world.source {
            source.handle_message(message.clone());
        }
        if let Some(target) = &mut world.target {
            target.handle_message(message);
        }
        for op in [Op::SourceStart, Op::SourceDone, Op::TargetStart, Op::TargetDone, Op::Chunk, Op::CutOver, Op::Drained] {
            world.apply(op);
        }
    }
}

#[cfg(test)]
mod tests;
