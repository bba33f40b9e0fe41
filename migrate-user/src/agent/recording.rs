//! One recorded container: its gate, its log, and whether it can still be moved.
//!
//! ```text
//!   ring drain --Batch--\
//!                        >-- thread "log": assembler -> screen -> spool
//!   gate --Image--------/
//! ```

use super::lease::Lease;
use super::probes::{Probes, ProbesError};
use crate::golive::signals::PendingSignals;
use crate::probe::gate::{Gate, GateError, GateEvent, GateHandle};
use crate::record::Record;
use crate::replay::screen;
use crate::ring::{Assembler, Batch, Event};
use crate::round::policy::CloseRule;
use crate::round::spool::{Appended, Totals};
use crate::round::{Ending, LogError, LogMeta, Spool, SpoolReader};
use crate::sys::cgroup::{Cgroup, CgroupError};
use crate::sys::ptrace::Pid;
use migrate_common::record::Kind;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long the log's thread waits for input before it looks whether a chunk is due.
const TICK: Duration = Duration::from_millis(5);
/// How long a seal waits for the image of a task that is just being looked at.
const IMAGE_BOUND: Duration = Duration::from_secs(2);

/// Why a container cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Probes(#[from] ProbesError),
    #[error(transparent)]
    Probe(#[from] crate::probe::ProbeError),
    #[error(transparent)]
    Ring(#[from] crate::ring::RingError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("a thread of the recording could not be started: {0}")]
    Thread(std::io::Error),
    #[error("the recording has ended")]
    Ended,
}

enum Input {
    Batch(Batch),
    Gate(GateEvent),
    Seal(mpsc::Sender<Result<Totals, LogError>>),
    Reader(u64, mpsc::Sender<Result<SpoolReader, LogError>>),
    Hurry(bool),
    Finish(Box<Ending>, mpsc::Sender<Result<(), LogError>>),
}

/// What others may know of a recording.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Why the container cannot be moved, in the order in which it became so.
    pub reasons: Vec<String>,
    /// The container's first task has ended.
    pub ended: bool,
    pub totals: Totals,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A container that is recorded from its first instruction.
#[derive(Debug)]
pub struct Recording {
    pub id: String,
    /// Its first task, as the host numbers it.
    pub init: Pid,
    pub cgroup: Cgroup,
    pub slot: u32,
    pub probes: Arc<Probes>,
    lease: Arc<Lease>,
    path: PathBuf,
    gate: Option<GateHandle>,
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
}

impl Recording {
    /// Begins to record the container whose runtime has just set up `init`. When this returns, the container may start.
    ///
    /// `path`: the log; `limit_bytes`: how large it may become. `keep`: go on when the container cannot be moved any more.
    pub fn start(
        id: &str,
        init: Pid,
        probes: &Arc<Probes>,
        path: &Path,
        meta: &LogMeta,
        limit_bytes: u64,
        keep: bool,
    ) -> Result<Self, RecordingError> {
        let cgroup = Cgroup::of(init)?;
        let spool = Spool::create(path, meta, limit_bytes)?;
        let (inputs, queue) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let lease = Arc::new(Lease::begin(probes, &cgroup, cgroup.id()?)?);
        let slot = lease.slot();
        let mut recording = Self {
            id: id.to_owned(),
            init,
            cgroup,
            slot,
            probes: Arc::clone(probes),
            lease: Arc::clone(&lease),
            path: path.to_owned(),
            gate: None,
            inputs: inputs.clone(),
            shared: Arc::clone(&shared),
        };
        let to_log = inputs.clone();
        probes.drain.add_sink(slot, Box::new(move |batch| drop(to_log.send(Input::Batch(batch)))))?;
        let log = LogThread {
            spool: Some(spool),
            assembler: Assembler::new(),
            gone: HashSet::new(),
            known: HashSet::from([1]),
            shared,
            rule: CloseRule::RECORDING,
            since: None,
            lease,
            keep,
        };
        let name = |what: &str| format!("{what}-{}", id.get(..8).unwrap_or(id));
        std::thread::Builder::new().name(name("log")).spawn(move || log.run(&queue)).map_err(RecordingError::Thread)?;
        let (ready, seized) = mpsc::channel();
        std::thread::Builder::new()
            .name(name("gate"))
            .spawn(move || {
                match Gate::seize(init, move |event| drop(inputs.send(Input::Gate(event)))) {
                    Ok((gate, handle)) => {
                        if ready.send(Ok(handle)).is_ok()
                            && let Err(error) = gate.run()
                        {
                            tracing::error!(%error, "the gate of a container failed");
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .map_err(RecordingError::Thread)?;
        recording.gate = Some(seized.recv().map_err(|_| RecordingError::Ended)??);
        Ok(recording)
    }

    /// What is known now.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.with(|state| state.clone())
    }

    /// Whether its calls are still logged.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.lease.is_live()
    }

    /// The container cannot be moved any more.
    pub fn object(&self, why: &str) {
        object(&self.shared, why.to_owned());
    }

    /// Closes the chunk that is being collected, with everything that has been taken out of the ring.
    pub fn seal(&self) -> Result<Totals, RecordingError> {
        Ok(self.ask(Input::Seal)??)
    }

    /// As [`Recording::seal`], with everything that the probes have numbered until now.
    pub fn flush(&self, frozen: bool) -> Result<Totals, RecordingError> {
        if frozen {
            self.probes.drain.flush_frozen(self.slot)?;
        } else {
            self.probes.drain.flush(self.slot)?;
        }
        self.seal()
    }

    /// The signals that wait for the tasks of the frozen container.
    #[must_use]
    pub fn pending_signals(&self) -> Option<Vec<PendingSignals>> {
        self.gate.as_ref()?.pending()
    }

    /// Reads the log from a chunk on, while it grows.
    pub fn reader(&self, from: u64) -> Result<SpoolReader, RecordingError> {
        Ok(self.ask(|reply| Input::Reader(from, reply))??)
    }

    /// While somebody waits for the chunks they are closed sooner.
    pub fn hurry(&self, hurry: bool) {
        drop(self.inputs.send(Input::Hurry(hurry)));
    }

    /// Ends the log of a container that has ended, and gives its path.
    pub fn finish(&self, ending: Ending) -> Result<&Path, RecordingError> {
        self.flush(false)?;
        self.ask(|reply| Input::Finish(Box::new(ending), reply))??;
        Ok(&self.path)
    }

    fn ask<T>(&self, input: impl FnOnce(mpsc::Sender<T>) -> Input) -> Result<T, RecordingError> {
        let (reply, answer) = mpsc::channel();
        self.inputs.send(input(reply)).map_err(|_| RecordingError::Ended)?;
        answer.recv().map_err(|_| RecordingError::Ended)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.lease.end();
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "a log could not be removed");
        }
    }
}

fn object(shared: &Shared, why: String) {
    shared.with(|state| {
        if !state.reasons.contains(&why) {
            tracing::info!(%why, "a container cannot be moved any more");
            state.reasons.push(why);
        }
    });
}

struct LogThread {
    /// None once the log has been ended.
    spool: Option<Spool>,
    assembler: Assembler,
    /// Tasks that ended: no image of theirs comes any more.
    gone: HashSet<u32>,
    /// Tasks that the log has seen begin, as the container numbers them.
    known: HashSet<u32>,
    shared: Arc<Shared>,
    rule: CloseRule,
    /// Since when records wait to be stored.
    since: Option<Instant>,
    lease: Arc<Lease>,
    /// The log goes on when the container cannot be moved any more.
    keep: bool,
}

impl LogThread {
    fn run(mut self, queue: &mpsc::Receiver<Input>) {
        loop {
            match queue.recv_timeout(TICK) {
                Ok(input) => self.take(input, queue),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let Some(spool) = &self.spool else { continue };
            let age = self.since.map_or(Duration::ZERO, |since| since.elapsed());
            if self.rule.closes(spool.pending_bytes(), age) {
                drop(self.seal());
            }
        }
    }

    fn take(&mut self, input: Input, queue: &mpsc::Receiver<Input>) {
        match input {
            Input::Batch(batch) => {
                self.assembler.feed(batch);
                self.store();
            }
            Input::Gate(event) => self.gate(event),
            Input::Seal(reply) => {
                self.await_image(queue);
                let sealed = self.seal();
                drop(reply.send(sealed));
            }
            Input::Reader(from, reply) => {
                let reader = match &self.spool {
                    Some(spool) => spool.reader(from),
                    None => Err(LogError::Io(std::io::ErrorKind::NotFound.into())),
                };
                drop(reply.send(reader));
            }
            Input::Hurry(hurry) => self.rule = if hurry { CloseRule::MOVING } else { CloseRule::RECORDING },
            Input::Finish(ending, reply) => {
                let done = self.spool.take().map_or(Ok(()), |spool| spool.finish(&ending));
                drop(reply.send(done));
            }
        }
    }

    /// The gate may still be looking at the image that the log goes on with.
    fn await_image(&mut self, queue: &mpsc::Receiver<Input>) {
        let until = Instant::now() + IMAGE_BOUND;
        while self.assembler.waits_for_image().is_some() && Instant::now() < until {
            match queue.recv_timeout(TICK) {
                Ok(Input::Seal(other)) => drop(other.send(Err(LogError::Io(std::io::ErrorKind::WouldBlock.into())))),
                Ok(input) => self.take(input, queue),
                Err(_) => {}
            }
        }
    }

    fn gate(&mut self, event: GateEvent) {
        match event {
            GateEvent::Image { host_tid, record } => {
                self.gone.remove(&host_tid);
                self.assembler.supply_image(host_tid, record);
            }
            GateEvent::NotMigratable { why, .. } => self.object(why),
            GateEvent::TaskEnded { host_tid } => {
                self.gone.insert(host_tid);
            }
            GateEvent::Ended => {}
        }
        self.store();
    }

    fn store(&mut self) {
        loop {
            while let Some(event) = self.assembler.poll() {
                match event {
                    Event::Record(record) => self.record(&record),
                    Event::Gap { at_seq, why } => self.object(format!("its log ends at record {at_seq}: {why}")),
                }
            }
            match self.assembler.waits_for_image() {
                Some(host_tid) if self.gone.remove(&host_tid) => self.assembler.no_image(host_tid),
                _ => return,
            }
        }
    }

    fn record(&mut self, record: &Record) {
        if let Some(why) = screen::objection(record) {
            self.object(why);
        }
        match record.kind() {
            Some(Kind::Exit) if record.head.tid == 1 => self.shared.with(|state| state.ended = true),
            Some(Kind::Fork) => {
                self.known.insert(u32::try_from(record.head.args[0]).unwrap_or(0));
            }
            _ if !self.known.contains(&record.head.tid) => {
                self.object("a process entered it from outside, as docker exec does".to_owned());
            }
            _ => {}
        }
        let Some(spool) = &mut self.spool else { return };
        self.since.get_or_insert_with(Instant::now);
        let mut pushed = spool.push(record);
        if matches!(pushed, Err(LogError::Full { .. })) {
            drop(self.seal());
            pushed = self.spool.as_mut().map_or(Ok(()), |spool| spool.push(record));
        }
        if let Err(error) = pushed {
            self.object(format!("its log could not be written: {error}"));
        }
    }

    fn seal(&mut self) -> Result<Totals, LogError> {
        self.since = None;
        let Some(spool) = &mut self.spool else { return Ok(self.shared.with(|state| state.totals)) };
        let stopped = match spool.append()? {
            Appended::Stopped(why) => Some(why.to_string()),
            Appended::Stored(_) | Appended::Nothing => None,
        };
        let totals = spool.totals();
        self.shared.with(|state| state.totals = totals);
        if let Some(why) = stopped {
            self.object(why);
        }
        Ok(totals)
    }

    /// The log is of no use any more: nothing of it is kept, and the probes leave the container alone, unless somebody measures.
    fn object(&mut self, why: String) {
        object(&self.shared, why);
        if self.keep {
            return;
        }
        self.spool = None;
        self.lease.end();
    }
}
