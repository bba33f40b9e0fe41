//! Binding a container's tasks to one CPU.
//!
//! By its cgroup's cpuset where it has one of its own, which no task can leave by sched_setaffinity(2); else task by task, again
//! whenever one has changed it.

use crate::sys::affinity::{self, CpuSet};
use crate::sys::cgroup::Cgroup;
use crate::sys::cgroup_trees::Trees;
use std::io;
use std::path::PathBuf;

#[derive(Debug)]
pub(super) struct Pin {
    cpu: CpuSet,
    how: How,
}

#[derive(Debug)]
enum How {
    /// The file, and what stood there.
    Set(PathBuf, String),
    /// What each task had.
    Tasks(CpuSet),
}

impl Pin {
    /// Binds what can be bound at once.
    pub(super) fn new(init: i32, cgroup: &Cgroup, cpu: usize) -> io::Result<Self> {
        let one = CpuSet::only(cpu);
        let Some(file) = file(init, cgroup) else {
            return Ok(Self { cpu: one, how: How::Tasks(affinity::of(init)?) });
        };
        let before = std::fs::read_to_string(&file)?;
        std::fs::write(&file, cpu.to_string())?;
        Ok(Self { cpu: one, how: How::Set(file, before.trim().to_owned()) })
    }

    /// Binds a task, if it is not yet.
    pub(super) fn bind(&self, tid: i32) -> io::Result<()> {
        match &self.how {
            How::Set(..) => Ok(()),
            How::Tasks(_) => affinity::set(tid, &self.cpu),
        }
    }

    /// What [`Pin::undo`] puts back.
    pub(super) fn before(&self) -> (Option<(PathBuf, String)>, Vec<usize>) {
        match &self.how {
            How::Set(file, before) => (Some((file.clone(), before.clone())), Vec::new()),
            How::Tasks(before) => (None, before.cpus()),
        }
    }

    pub(super) fn undo(&self, cgroup: &Cgroup) {
        match &self.how {
            // The cgroup may be gone, or a task of it.
            How::Set(file, before) => drop(std::fs::write(file, format!("{before}\n"))),
            How::Tasks(before) => {
                cgroup.tasks().unwrap_or_default().into_iter().for_each(|tid| drop(affinity::set(tid, before)));
            }
        }
    }
}

/// `cpuset.cpus` of the container's own cgroup: of version 2, or one of version 1 that has the same name.
fn file(init: i32, cgroup: &Cgroup) -> Option<PathBuf> {
    let own = cgroup.path().join("cpuset.cpus");
    if own.exists() {
        return Some(own);
    }
    let other = Trees::read().ok()?.folder(init, "cpuset")?;
    (other.file_name()? == cgroup.path().file_name()?).then(|| other.join("cpuset.cpus"))
}
