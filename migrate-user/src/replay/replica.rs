//! A replica and the thread that replays it: ptrace knows tracers by thread, so the engine never leaves its own.

use super::backend::BackendError;
use super::engine::Engine;
use super::error::ReplayError;
use super::last_pid::LastPid;
use super::ptrace::Ptrace;
use crate::sys::affinity::{self, CpuSet};
use crate::sys::ptrace::Pid;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&mut State) + Send>;

/// How often the runtime's program is looked at before the first image.
const TICK: Duration = Duration::from_millis(1);

/// Why a replica cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("the replica's thread could not be started: {0}")]
    Thread(std::io::Error),
    #[error("the replica has ended")]
    Ended,
}

/// What the thread holds.
enum State {
    /// Seized; its runtime has not started the image yet.
    Seized(Ptrace, Pid),
    Running(Box<Engine<Ptrace>>),
}

/// A handle to a replica. When it is dropped while the replica is not released, the replica's tasks are killed.
#[derive(Debug)]
pub struct Replica {
    jobs: mpsc::Sender<Job>,
    init: Pid,
    before: CpuSet,
}

impl Replica {
    /// Takes over a container's first task, which its runtime has set up and not yet started, as its tracer.
    ///
    /// Tracer and replica share one CPU: a stop is then a switch on that CPU (7 µs) and not a wake-up of another (60 to 120 µs).
    pub async fn seize(init: Pid) -> Result<Self, ReplicaError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (told, answer) = oneshot::channel();
        let before = affinity::of(init).map_err(ReplicaError::Thread)?;
        let cpu = before.last();
        std::thread::Builder::new()
            .name(format!("replica-{init}"))
            .spawn(move || {
                // Without it the replay is slow, not wrong.
                let _ = affinity::set(0, &cpu).and_then(|()| affinity::set(init, &cpu));
                let mut backend = Ptrace::new();
                let seized = backend.seize(init);
                let failed = seized.is_err();
                if told.send(seized).is_err() || failed {
                    return;
                }
                serve(State::Seized(backend, init), &queue);
            })
            .map_err(ReplicaError::Thread)?;
        answer.await.map_err(|_| ReplicaError::Ended)??;
        Ok(Self { jobs, init, before })
    }

    /// The first task, as the host numbers it.
    #[must_use]
    pub fn init(&self) -> Pid {
        self.init
    }

    /// Runs something on the replica's thread with its engine. The first call waits for the container's start.
    pub async fn with<T, F>(&self, job: F) -> Result<T, ReplicaError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Engine<Ptrace>) -> Result<T, ReplayError> + Send + 'static,
    {
        let (told, answer) = oneshot::channel();
        let job: Job = Box::new(move |state| {
            let result = state.engine().and_then(|engine| Ok(job(engine)?));
            // Whoever asked may be gone.
            let _ = told.send(result);
        });
        self.jobs.send(job).map_err(|_| ReplicaError::Ended)?;
        answer.await.map_err(|_| ReplicaError::Ended)?
    }

    /// Makes the replica independent of this program, on the CPUs that its container has. It does not move yet.
    pub async fn unleash(&self) -> Result<(), ReplicaError> {
        let (before, pinned) = (self.before, self.before.last());
        self.with(move |engine| {
            for (_, pid) in engine.live_tasks() {
                // One that the program has set itself stays. A task that is gone needs none.
                if affinity::of(pid).is_ok_and(|now| now == pinned) {
                    let _ = affinity::set(pid, &before);
                }
            }
            engine.unleash()
        })
        .await
    }

    /// Lets the replica go live.
    pub async fn release(&self) -> Result<(), ReplicaError> {
        self.with(Engine::release).await
    }
}

/// Runs jobs until nobody can send any more. Up to the first image the runtime's own program runs under ptrace, and stops for
/// every signal that its threads send one another: whoever starts the container waits for it, so it is taken on meanwhile.
fn serve(mut state: State, queue: &mpsc::Receiver<Job>) {
    loop {
        let job = match &state {
            State::Seized(..) => queue.recv_timeout(TICK),
            State::Running(_) => queue.recv().map_err(mpsc::RecvTimeoutError::from),
        };
        match job {
            Ok(job) => job(&mut state),
            // What goes wrong here goes wrong again for the first job, which tells.
            Err(mpsc::RecvTimeoutError::Timeout) => state.take_on(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl State {
    fn take_on(&mut self) {
        if let Self::Seized(backend, init) = self
            && let Ok(true) = backend.poll_first_image(*init)
        {
            self.start();
        }
    }

    fn start(&mut self) {
        if let Self::Seized(backend, init) = self {
            let engine = Engine::new(std::mem::take(backend), *init, LastPid::new(*init));
            *self = Self::Running(Box::new(engine));
        }
    }

    fn engine(&mut self) -> Result<&mut Engine<Ptrace>, ReplicaError> {
        if let Self::Seized(backend, init) = self {
            backend.wait_first_image(*init)?;
            self.start();
        }
        match self {
            Self::Running(engine) => Ok(engine),
            Self::Seized(..) => Err(ReplicaError::Ended),
        }
    }
}
