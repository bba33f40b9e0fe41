//! The comparison of the replica with the frozen source: what differs is asked for and written, what must not differ ends the move.

use super::Receiving;
use crate::agent::cutover::MemoryState;
use crate::agent::errors::{Failure, nanos, text};
use crate::golive::{Task, processes};
use crate::replay::Engine;
use crate::replay::backend::{At, Backend as _};
use crate::replay::ptrace::Ptrace;
use crate::replay::replica::Replica;
use crate::sys::ptrace::Pid;
use crate::sys::userfaultfd::{self, Userfaultfd};
use crate::verify::{self, Comparison, Hashed, Layout, Tables, Tracking, VerifyError, registers};
use crate::wire::message::Compared;
use crate::wire::target::Output;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What a page that a fault point may change begins with: guest `table`.
const FAULT_MARK: &[u8] = b"a table's page: ";

/// A comparison under way.
#[derive(Debug)]
pub(super) struct Comparing {
    begun: Instant,
    /// Once the source's hashes have come.
    comparison: Option<Comparison>,
}

impl Comparing {
    /// Everything before it is done.
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), comparison: None }
    }
}

impl Receiving {
    /// For a fault point: changes the first page that a test has marked.
    pub(super) async fn spoil(&self) -> Result<(), Failure> {
        let replica = self.replica.as_ref().ok_or("there is no replica")?;
        let spoilt = on(replica, |engine| Layout::of(&tasks(engine))?.spoil(FAULT_MARK)).await?;
        tracing::error!(?spoilt, "a page of the replica was changed, as the fault point asks");
        Ok(())
    }

    /// Keeps what the source says of its memory before it is frozen, and hashes the replica's, whose tasks stand still.
    pub(super) async fn learn(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let hashed: Vec<Hashed> = postcard::from_bytes(bytes).map_err(text)?;
        verify::learn(&mut self.early.theirs, &hashed);
        let replica = self.replica.as_ref().ok_or("there is no replica")?;
        let mut early = std::mem::take(&mut self.early);
        let passed = on(replica, move |engine| {
            let tasks = tasks(engine);
            let Early { ours, tracks, .. } = &mut early;
            let pass = ours.pass(&tasks, |task| tracks.get(&task.host_pid).cloned());
            let mut opened = Vec::new();
            for task in pass.untracked {
                if let Some(writes) = open_track(engine, task.host_pid)? {
                    tracks.insert(task.host_pid, Arc::new(writes));
                    opened.push(task);
                }
            }
            ours.pass(&opened, |task| tracks.get(&task.host_pid).cloned());
            Ok(early)
        });
        self.early = passed.await?;
        Ok(())
    }

    /// Compares registers and hashes.
    pub(super) async fn compare(&mut self, bytes: &[u8]) -> Result<Output, Failure> {
        let state: MemoryState = postcard::from_bytes(bytes).map_err(text)?;
        let replica = self.replica.as_ref().ok_or("there is no replica")?;
        // What tracks the replica goes before it runs.
        let Early { theirs, ours, tracks: _tracks } = std::mem::take(&mut self.early);
        let comparison = on(replica, move |engine| {
            let tasks = registers::settle(engine, &state.registers)?;
            let theirs = state.delta.complete(&theirs)?;
            Comparison::begin(Layout::of(&self::tasks(engine))?, tasks, &theirs, &ours)
        });
        let comparison = comparison.await?;
        self.comparing.get_or_insert_with(Comparing::begin).comparison = Some(comparison);
        self.compared()
    }

    /// Takes the pages that were asked for.
    pub(super) async fn patch(&mut self, bytes: Vec<u8>) -> Result<Output, Failure> {
        let replica = self.replica.as_ref().ok_or("there is no replica")?;
        let comparing = self.comparing.as_mut().ok_or("nothing is compared")?;
        let mut comparison = comparing.comparison.take().ok_or("nothing is compared")?;
        let taken = on(replica, move |engine| {
            comparison.take(&bytes, |tid, address, bytes| {
                let pid = engine.live_tasks().find(|(live, _)| *live == tid).map(|(_, pid)| pid);
                let pid = pid.ok_or(VerifyError::Unmapped { pid: 0, page: address })?;
                Ok(engine.backend().write(pid, address, bytes)?)
            })?;
            Ok(comparison)
        });
        comparing.comparison = Some(taken.await?);
        self.compared()
    }

    /// What is to be asked for next, or the end.
    fn compared(&mut self) -> Result<Output, Failure> {
        let comparing = self.comparing.as_mut().ok_or("nothing is compared")?;
        let comparison = comparing.comparison.as_ref().ok_or("nothing is compared")?;
        if !comparison.next().is_empty() {
            return postcard::to_stdvec(comparison.next()).map(Output::Differs).map_err(text);
        }
        let Some((found, tasks)) = comparing.comparison.take().map(Comparison::end) else {
            return Err("nothing is compared".to_owned());
        };
        let verify_ns = nanos(comparing.begun.elapsed());
        if tasks.extended_taken > 0 {
            tracing::warn!(tasks = tasks.extended_taken, "vector registers differed");
        }
        for place in &found.places {
            tracing::info!(%place, "a page differed");
        }
        for (kind, pages) in found.differing.iter().filter(|(kind, _)| !kind.is_explained()) {
            tracing::warn!(kind = kind.name(), pages, "pages differed that should not have");
        }
        Ok(Output::Compared(Compared {
            pages: found.compared,
            hashed: found.hashed,
            differing: found.differing.iter().map(|(kind, pages)| (kind.name().to_owned(), *pages)).collect(),
            places: found.places,
            tasks: tasks.compared,
            tasks_taken: tasks.taken,
            verify_ns,
        }))
    }
}

/// What is known of both memories before the source is frozen.
#[derive(Debug, Default)]
pub(super) struct Early {
    theirs: Tables,
    ours: Tracking,
    /// By a process's task, as the host numbers it.
    tracks: HashMap<Pid, Arc<Userfaultfd>>,
}

/// Has a task open what tracks the writes to its process's memory. No task of the replica moves meanwhile. `None`: it cannot.
///
/// # Errors
/// [`VerifyError::Io`] if it keeps the descriptor.
fn open_track(engine: &mut Engine<Ptrace>, pid: Pid) -> Result<Option<Userfaultfd>, VerifyError> {
    let backend = engine.backend();
    if !matches!(backend.at(pid), At::Call(_) | At::User) {
        return Ok(None);
    }
    let mut call = |nr: i64, argument: i32| backend.execute(pid, nr as i32, [u64::from(argument.unsigned_abs()), 0, 0, 0, 0, 0]);
    let descriptor = match userfaultfd::opened(call(libc::SYS_userfaultfd, userfaultfd::OPEN_FLAGS)?) {
        Ok(descriptor) => descriptor,
        Err(error) => {
            tracing::debug!(pid, %error, "a replica's process cannot open a userfaultfd");
            return Ok(None);
        }
    };
    let taken = Userfaultfd::take_over(pid, descriptor);
    if call(libc::SYS_close, descriptor)? != 0 {
        let source = std::io::Error::other(format!("descriptor {descriptor} stays"));
        return Err(VerifyError::Io { what: "closing a userfaultfd", pid, source });
    }
    if let Err(error) = &taken {
        tracing::debug!(pid, %error, "a replica's userfaultfd cannot be taken over");
    }
    Ok(taken.ok())
}

/// A live task of each process, the same as the source's.
fn tasks(engine: &Engine<Ptrace>) -> Vec<Task> {
    processes::one_each(engine.live_processes())
}

/// Does something on the replica's thread, which alone may look at its tasks.
async fn on<T: Send + 'static>(
    replica: &Replica,
    job: impl FnOnce(&mut Engine<Ptrace>) -> Result<T, VerifyError> + Send + 'static,
) -> Result<T, Failure> {
    replica.with(move |engine| Ok(job(engine))).await.map_err(text)?.map_err(text)
}
