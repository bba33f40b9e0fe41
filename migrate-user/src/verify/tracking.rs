//! Hashes that are made while the tasks run, so that few are left to be made when they stand still.
//!
//! A *pass* protects the pages of a process that were written since the pass before, and then hashes them. A page that is written after that,
//! be it while it is hashed, counts as written at the next look. So of a page that is not, the table holds the hash:
//!
//! ```text
//!   pass:    scan and protect what was written  ->  read, hash  ->  table
//!   frozen:  scan what was written              ->  read, hash  ->  Delta
//! ```
//! What the kernel says decides: memory that is not tracked, or was mapped anew, and that of another image, is written to it. Left out are
//! memory that can be shared, which others write through mappings of their own and by `write`, and processes that read past the page
//! cache ([`direct_io`]).

use super::error::VerifyError;
use super::hash::Hash;
use super::hashing::hash_running;
use super::layout::Layout;
use super::pages::{own_pages, protect_written};
use super::print::{Hashed, Space};
use super::table::Tables;
use crate::golive::{Bytes, Task};
use crate::sys::direct_io;
use crate::sys::pagemap::{PAGE_BYTES, Pagemap};
use crate::sys::ptrace::Pid;
use crate::sys::userfaultfd::Userfaultfd;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Processes with fewer pages of their own are hashed when they stand still: about half a millisecond.
const WORTH_PAGES: u64 = 512;

#[derive(Debug)]
struct Tracked {
    pid: Pid,
    writes: Arc<Userfaultfd>,
}

/// The processes of a container whose writes are tracked, and the hashes of their pages.
#[derive(Debug, Default)]
pub struct Tracking {
    /// By their number in the container's pid namespace.
    processes: BTreeMap<u32, Tracked>,
    tables: Tables,
}

/// What a pass has come to.
#[derive(Debug, Default)]
pub struct Pass {
    /// The pages that were hashed.
    pub hashed: Vec<Hashed>,
    /// Tasks of processes that are worth it and are not tracked.
    pub untracked: Vec<Task>,
}

impl Pass {
    /// How many pages were hashed.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.hashed.iter().flat_map(|hashed| &hashed.runs).map(|(_, count)| count).sum()
    }

    /// The same in parts of at most about so many bytes, for [`learn`](super::table::learn) one after the other.
    #[must_use]
    pub fn in_messages(&self, bytes: usize) -> Vec<Vec<Hashed>> {
        let most = (bytes / size_of::<Hash>() / 2) as u64;
        let mut messages: Vec<Vec<Hashed>> = Vec::new();
        let mut room = 0;
        for hashed in &self.hashed {
            let mut hashes = hashed.hashes.0.as_slice();
            for (mut first, mut count) in hashed.runs.iter().copied() {
                while count > 0 {
                    if room == 0 {
                        messages.push(Vec::new());
                        room = most;
                    }
                    let some = count.min(room);
                    let (these, rest) = hashes.split_at(hashes.len().min(some as usize * size_of::<Hash>()));
                    let Some(message) = messages.last_mut() else { break };
                    match message.last_mut() {
                        Some(last) if last.space == hashed.space => {
                            super::pages::push(&mut last.runs, first, some);
                            last.hashes.0.extend_from_slice(these);
                        }
                        _ => {
                            message.push(Hashed { space: hashed.space, runs: vec![(first, some)], hashes: Bytes(these.to_vec()) })
                        }
                    }
                    (hashes, first, count, room) = (rest, first + some, count - some, room - some);
                }
            }
        }
        messages
    }
}

impl Tracking {
    /// The hashes of earlier passes.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Whether the pages of a process that were not written since are in its table.
    pub(super) fn has(&self, tid: u32, pid: Pid) -> bool {
        self.processes.get(&tid).is_some_and(|tracked| tracked.pid == pid)
    }

    /// Looks at these processes, each named by one of its tasks. `writes`: what tracks one, if there is such a thing. Processes that
    /// end meanwhile are left out.
    pub fn pass(&mut self, tasks: &[Task], mut writes: impl FnMut(Task) -> Option<Arc<Userfaultfd>>) -> Pass {
        let mut pass = Pass::default();
        for task in tasks {
            match self.pass_process(*task, &mut writes, &mut pass) {
                Ok(true) => {}
                Ok(false) => self.forget(task.ns_tid.unsigned_abs()),
                Err(error) => {
                    tracing::debug!(pid = task.host_pid, %error, "the writes of a process are not tracked");
                    self.forget(task.ns_tid.unsigned_abs());
                }
            }
        }
        pass
    }

    /// Nothing is protected any more: what runs on pays nothing.
    pub fn end(&mut self) {
        for (tid, tracked) in std::mem::take(&mut self.processes) {
            let task = Task { ns_tid: tid.cast_signed(), host_pid: tracked.pid };
            // One that has ended has nothing left.
            for mapping in Layout::of(&[task]).iter().flat_map(|layout| layout.mappings(tid)) {
                drop(tracked.writes.untrack(mapping.start..mapping.end));
            }
        }
        self.tables.clear();
    }

    fn forget(&mut self, tid: u32) {
        self.processes.remove(&tid);
        self.tables.remove(&Space::Process(tid));
    }

    /// False: it is not tracked.
    fn pass_process(
        &mut self,
        task: Task,
        writes: &mut impl FnMut(Task) -> Option<Arc<Userfaultfd>>,
        pass: &mut Pass,
    ) -> Result<bool, VerifyError> {
        let (tid, pid) = (task.ns_tid.unsigned_abs(), task.host_pid);
        let fail = |what: &'static str| move |source| VerifyError::Io { what, pid, source };
        let layout = Layout::of(&[task])?;
        let private = || layout.mappings(tid).iter().filter(|mapping| !mapping.is_shared());
        let pagemap = Pagemap::open(pid).map_err(fail("looking for the pages"))?;
        let Some(writes) = writes(task) else {
            let own = own_pages(pid, &pagemap, layout.mappings(tid)).map_err(fail("looking for the pages"))?;
            if own.all.iter().map(|piece| piece.pages).sum::<u64>() >= WORTH_PAGES {
                pass.untracked.push(task);
            }
            return Ok(false);
        };
        let is_direct = || direct_io::is_used(pid).map_err(fail("reading the descriptors"));
        if is_direct()? {
            return Ok(false);
        }
        for mapping in private() {
            match writes.track(mapping.start..mapping.end) {
                // Of another image than it has now.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
                // What is not tracked is written to the kernel.
                Err(error) => tracing::trace!(pid, %error, %mapping, "memory that is not tracked"),
                Ok(()) => {}
            }
        }
        let space = Space::Process(tid);
        if !self.processes.get(&tid).is_some_and(|tracked| tracked.pid == pid && Arc::ptr_eq(&tracked.writes, &writes)) {
            self.tables.remove(&space);
            self.processes.insert(tid, Tracked { pid, writes });
        }
        let mut written = Vec::new();
        for mapping in private() {
            written.extend(protect_written(pid, &pagemap, mapping).map_err(fail("looking for the pages"))?);
        }
        // A read that was under way then may still write.
        if is_direct()? {
            return Ok(false);
        }
        let hashes = hash_running(&written, layout.memory());
        let numbers = written.iter().flat_map(|piece| (0..piece.pages).map(|n| piece.address / PAGE_BYTES + n));
        let later: Vec<(u64, Option<Hash>)> = numbers.zip(hashes).collect();
        let table = self.tables.entry(space).or_default();
        table.update(later.iter().copied());
        let told = later.iter().filter_map(|(number, hash)| Some((*number, (*hash)?)));
        let (runs, hashes) = told.fold((Vec::new(), Vec::new()), |(mut runs, mut hashes), (number, hash)| {
            super::pages::push(&mut runs, number, 1);
            hashes.extend(hash);
            (runs, hashes)
        });
        pass.hashed.push(Hashed { space, runs, hashes: Bytes(hashes) });
        Ok(true)
    }
}
