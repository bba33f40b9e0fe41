//! The budget of real time that version 1 of the `cpu` controller wants, where the kernel has CONFIG_RT_GROUP_SCHED.
//!
//! There a task can only be a real-time task in a cgroup that has a budget, for each CPU so much of each period, and budgets of
//! siblings may not exceed their parent's together. A share for each container would leave each a part of a CPU. So all
//! serialised containers of a machine have one cgroup, [`GROUP`], which gets all that the root has left: on every CPU they have that
//! much, together. What a container loses with its own cgroup are `cpu.shares` and the quota, which do not count for real-time tasks.
//!
//! Agents of one machine change these files one after the other: each locks the root.
//!
//! Source: Documentation/scheduler/sched-rt-group.rst.

use super::gone_is_fine;
use super::limit::{self, Limit};
use crate::sys::cgroup_trees::Trees;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In the root of the controller's tree.
const GROUP: &str = "migrate-turns";
/// A short period, since who has used up his budget stands still until it ends.
const PERIOD_US: u64 = 100_000;
/// Less is no use: the container would stand still most of the time.
const LEAST_US: u64 = 50_000;
/// The last container to end takes the group away, and the kernel has its budget back some time later only; another agent of the
/// machine may just be doing that, too.
const GIVE_BACK_BOUND: Duration = Duration::from_millis(500);
const GIVE_BACK_TICK: Duration = Duration::from_millis(5);

/// Why there is no budget.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    #[error(
        "other cgroups have the machine's real-time budget, {left_us} of {PERIOD_US} us are left: give them less in their cpu.rt_runtime_us"
    )]
    None { left_us: u64 },
    #[error("no real-time budget in {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("a task cannot join {}: {source}", group.display())]
    Join { group: PathBuf, source: io::Error },
}

/// A container's part in the group.
#[derive(Debug)]
pub(super) struct Budget {
    group: PathBuf,
    /// Where its tasks were.
    from: PathBuf,
}

impl Budget {
    /// `None`: this kernel wants none.
    pub(super) fn take(init: i32) -> Result<Option<Self>, BudgetError> {
        let Ok(trees) = Trees::read() else { return Ok(None) };
        let Some(root) = trees.mount("cpu").filter(|root| root.join("cpu.rt_runtime_us").exists()) else {
            return Ok(None);
        };
        let Some(from) = trees.folder(init, "cpu") else { return Ok(None) };
        let group = root.join(GROUP);
        let until = Instant::now() + GIVE_BACK_BOUND;
        let budget = Self { group, from };
        while let Err(error) = budget.begin(root, init) {
            if Instant::now() > until {
                return Err(error);
            }
            std::thread::sleep(GIVE_BACK_TICK);
        }
        Ok(Some(budget))
    }

    /// From its first task on nobody takes the group away.
    fn begin(&self, root: &Path, init: i32) -> Result<(), BudgetError> {
        let _lock = lock(root)?;
        prepare(root, &self.group)?;
        gone_is_fine(self.give(init)).map_err(|source| BudgetError::Join { group: self.group(), source })
    }

    pub(super) fn group(&self) -> PathBuf {
        self.group.clone()
    }

    /// `tasks` of the cgroup that the container's tasks came from.
    pub(super) fn origin(&self) -> PathBuf {
        self.from.join("tasks")
    }

    /// A task gets its part.
    pub(super) fn give(&self, tid: i32) -> io::Result<()> {
        std::fs::write(self.group.join("tasks"), tid.to_string())
    }

    /// A task that is no real-time task any more goes back.
    pub(super) fn take_back(&self, tid: i32) -> io::Result<()> {
        std::fs::write(self.origin(), tid.to_string())
    }

    /// The last one takes the group away; while others are in it that fails.
    pub(super) fn end(self) {
        if let Some(root) = self.group.parent() {
            remove(root);
        }
    }
}

/// Takes the group away if nobody is in it.
pub(super) fn sweep() {
    if let Some(root) = Trees::read().ok().as_ref().and_then(|trees| trees.mount("cpu")) {
        remove(root);
    }
}

/// The lock of a cgroup's folder, which its end gives back.
fn lock(root: &Path) -> Result<Flock<File>, BudgetError> {
    let failed = |source| BudgetError::File { path: root.to_owned(), source };
    let folder = File::open(root).map_err(failed)?;
    Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))
}

/// Takes the group away if nobody is in it, and restores the limit. Whatever is left behind, the next to end takes away.
fn remove(root: &Path) {
    let group = root.join(GROUP);
    let Ok(_lock) = lock(root) else { return };
    if let Ok(tasks) = std::fs::read_to_string(group.join("tasks")) {
        // A group that has been removed keeps its budget for a while, and the limit cannot be lower than that.
        if !tasks.is_empty() || write(&group, "cpu.rt_runtime_us", 0).is_err() || std::fs::remove_dir(&group).is_err() {
            return;
        }
    }
    if let Some(Err(error)) = Limit::new(root).map(|limit| limit.restore()) {
        tracing::warn!(%error, "the kernel's limit of real time stays lifted");
    }
}

fn prepare(root: &Path, group: &Path) -> Result<(), BudgetError> {
    match std::fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(BudgetError::File { path: group.to_owned(), source: error });
        }
        _ => {}
    }
    if number(group, "cpu.rt_runtime_us")? > 0 {
        return Ok(());
    }
    if let Some(Err(error)) = Limit::new(root).map(|limit| limit.lift()) {
        tracing::warn!(%error, "the kernel's limit of real time stays as it is");
    }
    let left_us = left(root)?;
    if left_us < LEAST_US {
        drop(std::fs::remove_dir(group));
        return Err(BudgetError::None { left_us });
    }
    write(group, "cpu.rt_period_us", PERIOD_US)?;
    write(group, "cpu.rt_runtime_us", left_us)
}

fn write(group: &Path, name: &str, value: u64) -> Result<(), BudgetError> {
    let path = group.join(name);
    std::fs::write(&path, value.to_string()).map_err(|source| BudgetError::File { path, source })
}

/// What the root has for one more child, of each period.
fn left(root: &Path) -> Result<u64, BudgetError> {
    let share = |group: &Path| -> Result<f64, BudgetError> {
        let runtime = number(group, "cpu.rt_runtime_us")?;
        // -1: no limit.
        Ok(if runtime < 0 { 1.0 } else { runtime as f64 / number(group, "cpu.rt_period_us")?.max(1) as f64 })
    };
    let mut left = share(root)?;
    for entry in std::fs::read_dir(root).map_err(|source| BudgetError::File { path: root.to_owned(), source })?.flatten() {
        // Cgroups come and go.
        left -= if entry.path().is_dir() { share(&entry.path()).unwrap_or(0.0) } else { 0.0 };
    }
    // The kernel rounds shares down.
    Ok(((left * PERIOD_US as f64) as u64).saturating_sub(10))
}

fn number(group: &Path, name: &str) -> Result<i64, BudgetError> {
    let path = group.join(name);
    limit::number(&path).map_err(|source| BudgetError::File { path, source })
}
