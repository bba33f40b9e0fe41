//! What the target compares: the container's memory in hashes, its tasks' registers, and the pages that it asks for.
//!
//! With [`Verify::Touched`] hashes are made, and told to the target, while the container runs: in passes, one at a time, until one finds
//! so little that the freeze need not wait for more ([`FEW_PAGES`]).

use crate::agent::cutover::{self, MemoryState};
use crate::agent::errors::{Failure, text};
use crate::agent::recording::Recording;
use crate::golive::Task;
use crate::sys::ptrace;
use crate::verify::registers::TaskRegisters;
use crate::verify::{Delta, Layout, Page, Pass, Tracking, Verify};
use crate::wire::message::HASHES_BYTES;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A pass that hashes no more than this is the last before the freeze: what is left is hashed in some milliseconds.
const FEW_PAGES: u64 = 1024;
/// Passes after which a container writes faster than that ever becomes true.
const MOST_PASSES: u32 = 6;
/// A pass that is older than this says nothing any more about how much there is to hash.
const FRESH: Duration = Duration::from_millis(150);

/// A frozen container's memory, and the hashes of the passes before, from which its own start.
type Hashed = (Layout, Delta, Tracking);

/// The source's half of a comparison.
#[derive(Debug, Default)]
pub(super) struct Proof {
    verify: Verify,
    early: Early,
    /// Begun with the freeze, beside everything else that has to be done then.
    hashing: Option<JoinHandle<Result<Hashed, Failure>>>,
    layout: Option<Arc<Layout>>,
    /// Pages that were hashed during the freeze.
    pub(super) hashed: u64,
    /// Of the tasks, read when the kernel objects are.
    pub(super) registers: Vec<TaskRegisters>,
}

/// The hashes that are made before the freeze.
#[derive(Debug, Default)]
struct Early {
    /// None while a pass is under way.
    tracking: Option<Tracking>,
    pass: Option<JoinHandle<(Tracking, Pass)>>,
    passes: u32,
    last: Option<Done>,
}

/// The last pass.
#[derive(Clone, Copy, Debug)]
struct Done {
    at: Instant,
    pages: u64,
    /// It met processes that are worth tracking and are not tracked yet.
    asked: bool,
}

impl Proof {
    pub(super) fn new(verify: Verify) -> Self {
        let early = Early { tracking: verify.is_early().then(Tracking::default), ..Early::default() };
        Self { verify, early, ..Self::default() }
    }

    /// Begins to hash the memory of a container that was just frozen, if it is compared.
    pub(super) fn begin(&mut self, recording: &Arc<Recording>) {
        if !self.verify.is_on() {
            return;
        }
        let cgroup = recording.cgroup.clone();
        let tracking = self.early.tracking.take().unwrap_or_default();
        self.hashing = Some(tokio::task::spawn_blocking(move || {
            let layout = Layout::of(&cutover::tasks(&cgroup)?).map_err(text)?;
            let delta = layout.delta(&tracking).map_err(text)?;
            Ok((layout, delta, tracking))
        }));
    }

    /// Begins a pass over the memory of the running container, if there is to be one and none is under way.
    pub(super) fn begin_pass(&mut self, recording: &Arc<Recording>) {
        let Some(mut tracking) = self.early.tracking.take() else { return };
        let recording = Arc::clone(recording);
        self.early.pass = Some(tokio::task::spawn_blocking(move || {
            let pass = pass(&recording, &mut tracking);
            (tracking, pass)
        }));
    }

    /// What a pass has hashed that has come to its end, in messages for the target.
    pub(super) async fn passed(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let Some(pass) = self.early.pass.take_if(|pass| pass.is_finished()) else { return Ok(Vec::new()) };
        let (tracking, pass) = pass.await.map_err(text)?;
        self.early.tracking = Some(tracking);
        self.early.passes += 1;
        let pages = pass.pages();
        self.early.last = Some(Done { at: Instant::now(), pages, asked: !pass.untracked.is_empty() });
        tracing::debug!(pages, untracked = pass.untracked.len(), "a pass over the memory");
        pass.in_messages(HASHES_BYTES).iter().map(|hashed| postcard::to_stdvec(hashed).map_err(text)).collect()
    }

    /// Whether the freeze need not wait for a pass.
    pub(super) fn may_freeze(&self) -> bool {
        let Some(Done { at, pages, asked }) = self.early.last else { return !self.verify.is_early() };
        let is_enough = self.early.passes >= MOST_PASSES || (pages <= FEW_PAGES && !asked);
        self.early.pass.is_none() && is_enough && at.elapsed() <= FRESH
    }

    /// The container runs again after a freeze: hashes that were made in it are of no use, those from before are.
    pub(super) async fn forget(&mut self) {
        // Without early hashes what is being made ends unread.
        if let Some(hashing) = self.hashing.take().filter(|_| self.verify.is_early()) {
            // What failed has taken the tables along: then everything is told anew.
            self.early.tracking =
                Some(hashing.await.ok().and_then(Result::ok).map(|(_, _, tracking)| tracking).unwrap_or_default());
        }
        (self.layout, self.hashed) = (None, 0);
        self.registers.clear();
    }

    /// The move is over and the container runs on: nothing is tracked any more.
    pub(super) async fn end(&mut self, recording: &Recording) {
        self.forget().await;
        if let Some(pass) = self.early.pass.take()
            && let Ok((tracking, _)) = pass.await
        {
            self.early.tracking = Some(tracking);
        }
        if let Err(error) = recording.ask_for_tracks(&[]) {
            tracing::debug!(%error, "processes may still open what tracks them");
        }
        if let Some(mut tracking) = self.early.tracking.take()
            && let Err(error) = tokio::task::spawn_blocking(move || tracking.end()).await
        {
            tracing::warn!(%error, "the memory of a container that runs on may still be tracked");
        }
    }

    /// What the target compares with.
    pub(super) async fn hashed(&mut self) -> Result<Vec<u8>, Failure> {
        let hashing = self.hashing.take().ok_or("the container is not frozen")?;
        let (layout, delta, tracking) = hashing.await.map_err(text)??;
        self.layout = Some(Arc::new(layout));
        self.early.tracking = self.verify.is_early().then_some(tracking);
        self.hashed = delta.fresh();
        postcard::to_stdvec(&MemoryState { delta, registers: std::mem::take(&mut self.registers) }).map_err(text)
    }

    /// The bytes of pages.
    pub(super) async fn read(&self, pages: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let layout = Arc::clone(self.layout.as_ref().ok_or("the memory is not hashed")?);
        let pages: Vec<Page> = postcard::from_bytes(&pages).map_err(text)?;
        tokio::task::spawn_blocking(move || layout.read(&pages)).await.map_err(text)?.map_err(text)
    }
}

/// One pass. Processes that are worth it and are not tracked are asked to open what tracks them, and nobody else is any more.
fn pass(recording: &Recording, tracking: &mut Tracking) -> Pass {
    // Tasks that end meanwhile are no reason to give up; the next pass finds the others.
    let Ok(tasks) = cutover::tasks(&recording.cgroup) else { return Pass::default() };
    let process = |task: Task| ptrace::numbers(task.host_pid).ok().map(|numbers| numbers.tgid);
    let pass = tracking.pass(&tasks, |task| recording.tracks().of(process(task)?));
    let asked: Vec<_> = pass.untracked.iter().filter_map(|task| process(*task)).collect();
    if let Err(error) = recording.ask_for_tracks(&asked) {
        tracing::debug!(%error, "processes cannot be asked to open what tracks them");
    }
    pass
}
