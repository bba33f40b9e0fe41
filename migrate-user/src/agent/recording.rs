//! One recorded container: its gate, its log, and whether it can still be moved.
//!
//! ```text
//!   ring drain --Batch--\
//!                        >-- thread "log": assembler -> screen -> spool
//!   gate --Image--------/
//! ```

mod ends;
mod groups;
mod log_thread;
mod tasks;

pub use self::groups::{GroupCount, GroupCounts};
use self::log_thread::{Input, LogThread};
use super::lease::Lease;
use super::probes::{Probes, ProbesError};
use crate::probe::gate::{Gate, GateError, GateHandle, NoAnswer, Stopped, Tracks};
use crate::probe::serial::{Policy, Rotations, Serial};
use crate::ring::RingError;
use crate::round::spool::Totals;
use crate::round::{Ending, LogError, LogMeta, Spool, SpoolReader};
use crate::sys::cgroup::{Cgroup, CgroupError};
use crate::sys::ptrace::Pid;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

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
    Ring(#[from] RingError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("a thread of the recording could not be started: {0}")]
    Thread(std::io::Error),
    #[error("the recording has ended")]
    Ended,
}

/// What others may know of a recording.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Why the container cannot be moved, in the order in which it became so.
    pub reasons: Vec<String>,
    /// The container's first task has ended.
    pub ended: bool,
    pub totals: Totals,
    /// As of the same chunk.
    pub groups: GroupCounts,
    pub work: Work,
}

/// What the log's thread has done and what that has cost, as of its last sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Batches that came from the ring.
    pub batches: u64,
    /// Their entries: records, and pieces of such.
    pub entries: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Entries that had to be copied because one before them was not there yet.
    pub copied: u64,
    /// How often the thread slept and went on.
    pub wake_ups: u64,
    /// Processor time of the thread, in ns.
    pub cpu_ns: u64,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn object(&self, why: String) {
        self.with(|state| {
            if !state.reasons.contains(&why) {
                tracing::info!(%why, "a container cannot be moved any more");
                state.reasons.push(why);
            }
        });
    }
}

/// How a container is recorded.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// How large the log may become.
    pub limit_bytes: u64,
    /// Go on when the container cannot be moved any more.
    pub keep: bool,
    /// When it is serialised.
    pub policy: Policy,
    /// Keep what the memory of its processes is at their end.
    pub prove: bool,
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
    serial: Arc<Serial>,
    tracks: Arc<Tracks>,
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
}

impl Recording {
    /// Begins to record the container whose runtime has just set up `init`. When this returns, the container may start.
    ///
    /// `path`: the log.
    pub fn start(
        id: &str,
        init: Pid,
        probes: &Arc<Probes>,
        path: &Path,
        meta: &LogMeta,
        how: How,
    ) -> Result<Self, RecordingError> {
        let How { limit_bytes, keep, policy, prove } = how;
        let cgroup = Cgroup::of(init)?;
        let spool = Spool::create(path, meta, limit_bytes)?;
        let (inputs, queue) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let lease = Arc::new(Lease::begin(probes, &cgroup, cgroup.id()?)?);
        let slot = lease.slot();
        let serial = Arc::new(Serial::new(policy, slot, init, cgroup.clone(), Arc::clone(&probes.turns), Some(path.to_owned())));
        let tracks = Arc::new(Tracks::default());
        let mut recording = Self {
            id: id.to_owned(),
            init,
            cgroup,
            slot,
            probes: Arc::clone(probes),
            lease: Arc::clone(&lease),
            path: path.to_owned(),
            gate: None,
            serial: Arc::clone(&serial),
            tracks: Arc::clone(&tracks),
            inputs: inputs.clone(),
            shared: Arc::clone(&shared),
        };
        let to_log = inputs.clone();
        probes.drain.add_sink(slot, Box::new(move |batch| drop(to_log.send(Input::Batch(batch)))))?;
        let log = LogThread::new(spool, lease, Arc::clone(&serial), &shared, keep);
        let name = |what: &str| format!("{what}-{}", id.get(..8).unwrap_or(id));
        std::thread::Builder::new().name(name("log")).spawn(move || log.run(&queue)).map_err(RecordingError::Thread)?;
        let (ready, seized) = mpsc::channel();
        let recorder = Arc::clone(&probes.recorder);
        std::thread::Builder::new()
            .name(name("gate"))
            .spawn(move || match Gate::seize(init, prove, move |event| drop(inputs.send(Input::Gate(event)))) {
                Ok((gate, handle)) => {
                    if ready.send(Ok(handle)).is_ok()
                        && let Err(error) = gate.holding(recorder).taking_turns(serial).tracking(slot, tracks).run()
                    {
                        tracing::error!(%error, "the gate of a container failed");
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
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

    /// The CPU that all its tasks run on, if they take turns.
    #[must_use]
    pub fn cpu(&self) -> Option<usize> {
        self.serial.cpu()
    }

    /// How often a task of its was put behind the others.
    #[must_use]
    pub fn rotations(&self) -> Rotations {
        self.serial.rotations()
    }

    /// Whether its calls are still logged.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.lease.is_live()
    }

    /// The container cannot be moved any more.
    pub fn object(&self, why: &str) {
        self.shared.object(why.to_owned());
    }

    /// Closes the chunk that is being collected, with everything that has been taken out of the ring.
    pub fn seal(&self) -> Result<Totals, RecordingError> {
        Ok(self.ask(Input::Seal)??)
    }

    /// As [`Recording::seal`], with everything that the probes have numbered until now.
    pub fn flush(&self, frozen: bool) -> Result<Totals, RecordingError> {
        let drain = &self.probes.drain;
        match if frozen { drain.flush_frozen(self.slot) } else { drain.flush(self.slot) } {
            // Without a sink the log has ended before: nothing more comes, and why is among the reasons.
            Ok(_) | Err(RingError::NoSink(_)) => self.seal(),
            Err(error) => Err(error.into()),
        }
    }

    /// The signals that wait for the tasks of the frozen container, and their registers.
    pub fn stopped(&self) -> Result<Vec<Stopped>, NoAnswer> {
        self.gate.as_ref().ok_or(NoAnswer::Ended)?.stopped()
    }

    /// What tracks the writes to the memory of its processes, as far as it is there.
    #[must_use]
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Asks these processes of one task, by their number on the host, to open theirs, and nobody else any more.
    pub fn ask_for_tracks(&self, processes: &[Pid]) -> Result<(), RecordingError> {
        let host_tids: Vec<u32> = processes.iter().map(|pid| pid.unsigned_abs()).collect();
        Ok(self.probes.recorder.ask_for(self.slot, &host_tids)?)
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
        self.serial.end();
        self.lease.end();
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "a log could not be removed");
        }
    }
}
