//! Where the supervisor lives: beside the container's shim, which is made to outlive whatever manages the container.

use crate::sys::affinity;
use crate::sys::cgroup_trees::Trees;
use std::fs;

/// Moves this process into the cgroups of the parent of `init`, and takes its OOM score and CPUs, which are not the agent's. What fails is
/// left as it was: the supervisor works all the same.
pub(super) fn beside_shim_of(init: i32) {
    let Some(shim) = parent(init) else { return };
    if let Ok(score) = fs::read_to_string(format!("/proc/{shim}/oom_score_adj")) {
        let _ = fs::write("/proc/self/oom_score_adj", score.trim());
    }
    let _ = affinity::of(shim).and_then(|cpus| affinity::set(0, &cpus));
    let Ok(folders) = Trees::read().and_then(|trees| trees.folders(shim)) else { return };
    for folder in folders {
        let _ = fs::write(folder.join("cgroup.procs"), std::process::id().to_string());
    }
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok().filter(|&parent| parent > 1)
}
