//! Containers that an agent left behind when it was killed: nobody rotates their tasks any more, so these must not take turns.

use super::Placed;
use crate::sys::affinity::{self, CpuSet};
use crate::sys::cgroup::Cgroup;
use crate::sys::sched;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The end of a journal's name.
const SUFFIX: &str = "turns";

/// What is to be undone of one container.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    /// Its version 2 cgroup.
    cgroup: PathBuf,
    /// The cpuset's file and what stood there, or the CPUs that each task had.
    cpuset: Option<(PathBuf, String)>,
    cpus: Vec<usize>,
    /// `tasks` of the version 1 cgroup that its tasks came from.
    tasks: Option<PathBuf>,
}

impl Journal {
    pub(super) fn new(cgroup: &Cgroup, placed: &Placed) -> Self {
        let (cpuset, cpus) = placed.pin.before();
        let tasks = placed.budget.as_ref().map(super::Budget::origin);
        Self { cgroup: cgroup.path().to_owned(), cpuset, cpus, tasks }
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path.with_extension(SUFFIX), serde_json::to_vec(self)?)
    }

    fn undo(&self) {
        // Tasks, and the whole container, may have ended.
        for tid in Cgroup::at(&self.cgroup).tasks().unwrap_or_default() {
            drop(sched::set_usual(tid));
            if let Some(tasks) = &self.tasks {
                drop(std::fs::write(tasks, tid.to_string()));
            }
            if self.cpuset.is_none() {
                drop(affinity::set(tid, &CpuSet::of_cpus(&self.cpus)));
            }
        }
        if let Some((file, before)) = &self.cpuset {
            drop(std::fs::write(file, format!("{before}\n")));
        }
    }
}

/// Ends the turns of the containers whose journals are in a folder; how many.
///
/// # Errors
/// If the folder cannot be read.
pub fn recover(folder: &Path) -> io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let journals = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == SUFFIX));
    let mut undone = 0;
    for path in journals {
        // One that was cut short was not yet acted on.
        if let Some(journal) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Journal>(&text).ok()) {
            journal.undo();
            undone += 1;
        }
        std::fs::remove_file(&path)?;
    }
    super::budget::sweep();
    Ok(undone)
}
