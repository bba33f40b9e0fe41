//! The gate: the agent's hold on the tasks of a recorded container.
//!
//! It traces them with `PTRACE_SEIZE` and no system call stops, so that they run at full speed but for three moments:
//!
//! * **exec**: the new image is held before its first instruction, gets [code of ours](crate::clocks) in its vDSO's place, or none (clock
//!   reads become system calls then, which the probes see), and its initial stack goes into the log as an [`Kind::Image`](migrate_common::record::Kind::Image) record.
//! * **fork**: the child is traced from its first instruction on.
//! * **signals**: one that arrives in user code is held until the task's next system call and delivered there, where a replica
//!   can place it exactly. A task that makes no call for [`HOLD_BOUND`] gets it in user code, at a function's return if it comes
//!   to one, and the record tells its registers and memory, by which a replica finds the place.
//!
//! At a fork that shares memory, and where a program holds a task that has mapped some, it has the container serialised before the
//! task goes on ([`Gate::taking_turns`]).
//!
//! Where a process makes its first thread, or a task is asked for, it has what tracks the writes to its memory opened ([`track`]).
//!
//! Tasks that fill the recorder's ring are held, too, until it has been drained ([`Gate::holding`]).
//!
//! Of a recording that is to prove its replays, processes stop once more at their end ([`ends`]).
//!
//! If the agent dies, the kernel detaches the tasks and they run on.

mod ends;
mod image;
mod lone;
mod pending;
mod place;
mod serialise;
mod signals;
mod standing;
mod track;

pub use pending::{GateHandle, NoAnswer, Stopped};
pub(super) use place::returns;
pub use signals::HOLD_BOUND;
pub use track::Tracks;

use crate::probe::Recorder;
use crate::probe::serial::Serial;
use crate::record::Record;
use crate::sys::ptrace::{self, Fate, Pid, Resume, Stop, Wait, Waited};
use crate::verify::EndPrint;
use ends::Ends;
use lone::LoneWaits;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet};
use pending::{BELL, Question, hear};
use signals::Task;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How often a held signal's bound is looked at.
const TICK: Duration = Duration::from_millis(1);
/// The same while a task is on its way to a function's return.
const STEP: Duration = Duration::from_micros(50);

/// What the gate tells.
#[derive(Debug)]
pub enum GateEvent {
    /// A task entered a new image: the record to put behind its [`Kind::Exec`](migrate_common::record::Kind::Exec).
    Image { host_tid: u32, record: Record },
    /// Something that a replica cannot follow.
    NotMigratable { host_tid: u32, why: String },
    /// The container's tasks take turns from here on: no record of the task that this was for has been made since.
    Serial { cpu: usize },
    /// A task has ended: no image of its comes any more.
    TaskEnded { host_tid: u32 },
    /// These tasks end, and have made no record of that yet. With the last of a process: its number and memory, or why that is not
    /// known.
    Ends { host_tids: Vec<u32>, process: Option<(u32, Result<Box<EndPrint>, String>)> },
    /// Every traced task has ended.
    Ended,
}

/// Why a container cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    Ptrace(#[from] ptrace::PtraceError),
    #[error("waiting for the tasks of a container: {0}")]
    Wait(io::Error),
}

/// Traces the tasks of one container. Lives and dies on one thread: the tracer.
#[derive(Debug)]
pub struct Gate<F> {
    tasks: HashMap<Pid, Task>,
    /// What becomes of the tasks if this program ends.
    fate: Fate,
    tell: F,
    questions: mpsc::Receiver<Question>,
    lone: LoneWaits,
    /// Whose programs hold tasks.
    recorder: Option<Arc<Recorder>>,
    /// Tasks that are held while the ring is drained, and since when.
    paused: HashMap<Pid, Instant>,
    /// Makes the tasks take turns.
    serial: Option<Arc<Serial>>,
    /// The slot of its records, and where what tracks its processes goes.
    tracks: Option<(u32, Arc<Tracks>)>,
    /// New tasks that stopped before their makers told of them. They stay where they are until then.
    early: HashSet<Pid>,
    /// Tasks share memory since a fork.
    shared: bool,
    ends: Ends,
}

impl<F: FnMut(GateEvent)> Gate<F> {
    /// Seizes a container's first task, which its runtime has set up and which has not yet entered its image. From here on the
    /// calling thread is the tracer, and must go on to [`Gate::run`]. `ends`: tell of the memory of processes at their end.
    pub fn seize(init: Pid, ends: bool, tell: F) -> Result<(Self, GateHandle), GateError> {
        let quiet = SigAction::new(SigHandler::Handler(hear), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing; without SA_RESTART the wait of this thread ends.
        unsafe { nix::sys::signal::sigaction(BELL, &quiet) }.map_err(|errno| GateError::Wait(errno.into()))?;
        let fate = if ends { Fate::Witnessed } else { Fate::RunOn };
        ptrace::seize(init, fate)?;
        let (ask, questions) = mpsc::channel();
        let lone = LoneWaits::default();
        let handle = GateHandle { questions: ask, lone: lone.clone(), thread: nix::sys::pthread::pthread_self() };
        let gate = Self {
            tasks: HashMap::from([(init, Task::default())]),
            fate,
            tell,
            questions,
            lone,
            recorder: None,
            paused: HashMap::new(),
            serial: None,
            tracks: None,
            early: HashSet::new(),
            shared: false,
            ends: Ends::new(ends),
        };
        Ok((gate, handle))
    }

    /// Holds tasks for the recorder when its ring fills up.
    #[must_use]
    pub fn holding(mut self, recorder: Arc<Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Lets tasks go on that were held while the ring was drained.
    fn end_pause(&mut self) -> ptrace::Result<()> {
        if self.paused.is_empty() || !self.recorder.as_ref().is_none_or(|recorder| recorder.is_calm()) {
            return Ok(());
        }
        for (pid, since) in std::mem::take(&mut self.paused) {
            if let Some(recorder) = &self.recorder {
                recorder.count_hold(since.elapsed());
            }
            match self.go_on(pid, 0) {
                // Killed meanwhile; its end is reported next.
                Err(error) if error.is_gone() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Traces until every task has ended.
    pub fn run(mut self) -> Result<(), GateError> {
        loop {
            let holding = !self.paused.is_empty() || self.ends.any() || self.tasks.values().any(|task| task.since.is_some());
            match ptrace::wait(Wait::Any, holding).map_err(GateError::Wait)? {
                Waited::Stopped(pid, stop) => match self.handle(pid, stop) {
                    // A task can be killed at any moment, its stop included; its end is reported next.
                    Err(error) if error.is_gone() => {}
                    other => other?,
                },
                Waited::NotYet => {
                    let placing = self.tasks.values().any(|task| task.placing.is_some());
                    std::thread::sleep(if placing { STEP } else { TICK });
                    self.deliver_overdue();
                }
                Waited::Interrupted => {}
                Waited::Nobody => break,
            }
            self.end_pause()?;
            self.try_ends();
            while let Ok(Question(answer)) = self.questions.try_recv() {
                // Whoever asked may have given up.
                drop(answer.send(self.stopped()));
            }
        }
        (self.tell)(GateEvent::Ended);
        Ok(())
    }

    fn handle(&mut self, pid: Pid, stop: Stop) -> ptrace::Result<()> {
        // Any other stop takes the place of the one that was asked for: it must be asked for again.
        if stop != Stop::Event
            && let Some(task) = self.tasks.get_mut(&pid)
        {
            task.overdue = false;
        }
        match stop {
            Stop::Exited(_) | Stop::Killed(_) => {
                self.tasks.remove(&pid);
                self.paused.remove(&pid);
                self.tracks_no_more(pid);
                (self.tell)(GateEvent::TaskEnded { host_tid: pid.unsigned_abs() });
                self.orphaned(pid)
            }
            Stop::Execed => {
                if let Some(task) = self.tasks.get_mut(&pid) {
                    (task.handlers, task.returning, task.returned) = (0, false, false);
                }
                self.owns_its_memory(pid);
                self.tracks_no_more(pid);
                self.image(pid)?;
                self.execed(pid);
                self.go_on(pid, 0)
            }
            Stop::Forked { child, vfork } => {
                self.note_borrower(pid, child, vfork);
                self.forked(pid, child, vfork)
            }
            Stop::Exiting => self.exiting(pid),
            Stop::Event if !self.tasks.contains_key(&pid) => {
                self.early.insert(pid);
                Ok(())
            }
            Stop::Event => self.event(pid),
            Stop::Group(_) => ptrace::resume(pid, Resume::Listen, 0),
            Stop::Syscall => self.boundary(pid),
            Stop::Signal(signal) => self.signal(pid, signal),
        }
    }

    /// Lets a task go on: to its next call if a signal waits for one.
    fn go_on(&mut self, pid: Pid, signal: i32) -> ptrace::Result<()> {
        let waiting = self.tasks.get(&pid).is_some_and(|task| !task.held.is_empty() || task.handlers > 0 || task.returning);
        ptrace::resume(pid, if waiting { Resume::Syscall } else { Resume::Cont }, signal)
    }
}
