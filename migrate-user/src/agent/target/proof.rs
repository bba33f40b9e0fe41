//! The comparison of the replica with the frozen source: what differs is asked for and written, what must not differ ends the move.

use super::Receiving;
use crate::agent::cutover::MemoryState;
use crate::agent::errors::{Failure, nanos, text};
use crate::golive::{Task, processes};
use crate::replay::Engine;
use crate::replay::backend::Backend as _;
use crate::replay::ptrace::Ptrace;
use crate::replay::replica::Replica;
use crate::verify::{Comparison, Layout, VerifyError, registers};
use crate::wire::message::Compared;
use crate::wire::target::Output;
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

    /// Compares registers and hashes.
    pub(super) async fn compare(&mut self, bytes: &[u8]) -> Result<Output, Failure> {
        let state: MemoryState = postcard::from_bytes(bytes).map_err(text)?;
        let replica = self.replica.as_ref().ok_or("there is no replica")?;
        let comparison = on(replica, move |engine| {
            let tasks = registers::settle(engine, &state.registers)?;
            Comparison::begin(Layout::of(&self::tasks(engine))?, tasks, &state.print)
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
            differing: found.differing.iter().map(|(kind, pages)| (kind.name().to_owned(), *pages)).collect(),
            places: found.places,
            tasks: tasks.compared,
            tasks_taken: tasks.taken,
            verify_ns,
        }))
    }
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
