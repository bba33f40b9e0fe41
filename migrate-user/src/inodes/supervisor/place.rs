//! Where the supervisor lives: beside the container's shim, which is made to outlive whatever manages the container.

use std::fs;
use std::path::{Path, PathBuf};

/// Moves this process into the cgroups of the parent of `init`, and takes its OOM score. What fails is left as it was: the supervisor
/// works all the same.
pub(super) fn beside_shim_of(init: i32) {
    let Some(shim) = parent(init) else { return };
    if let Ok(score) = fs::read_to_string(format!("/proc/{shim}/oom_score_adj")) {
        let _ = fs::write("/proc/self/oom_score_adj", score.trim());
    }
    let (Ok(groups), Ok(mounts)) =
        (fs::read_to_string(format!("/proc/{shim}/cgroup")), fs::read_to_string("/proc/self/mountinfo"))
    else {
        return;
    };
    for folder in folders(&groups, &mounts) {
        let _ = fs::write(folder.join("cgroup.procs"), std::process::id().to_string());
    }
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok().filter(|&parent| parent > 1)
}

/// The folders of a process's cgroups, of its `/proc/PID/cgroup` and the `/proc/self/mountinfo` of whoever looks.
fn folders(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mounts: Vec<_> = mounts.lines().filter_map(Mount::parse).collect();
    let folder = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let mount = mounts.iter().find(|mount| mount.has(controllers))?;
        let below = path.strip_prefix(if mount.root == "/" { "" } else { mount.root })?;
        Some(Path::new(mount.at).join(below.trim_start_matches('/')))
    };
    groups.lines().filter_map(folder).collect()
}

struct Mount<'a> {
    /// Which folder of the hierarchy is seen there.
    root: &'a str,
    at: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// proc_pid_mountinfo(5).
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mut after = after.split(' ');
        let mount = Self { root: before.next()?, at: before.next()?, kind: after.next()?, options: after.nth(1)? };
        mount.kind.starts_with("cgroup").then_some(mount)
    }

    /// Is this the hierarchy of these controllers? None: version 2.
    fn has(&self, controllers: &str) -> bool {
        if controllers.is_empty() {
            return self.kind == "cgroup2";
        }
        self.kind == "cgroup" && controllers.split(',').all(|name| self.options.split(',').any(|option| option == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_s_cgroups_are_found_in_both_versions_trees() {
        let mounts = "\
25 20 0:22 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
26 20 0:23 / /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd
27 20 0:24 /host /sys/fs/cgroup/unified rw - cgroup2 none rw
28 20 0:25 / /proc rw - proc proc rw";
        let groups = "4:cpuacct,cpu:/system.slice\n3:memory:/x\n1:name=systemd:/docker.service\n0::/host/docker.service\n";
        let wanted =
            ["/sys/fs/cgroup/cpu/system.slice", "/sys/fs/cgroup/systemd/docker.service", "/sys/fs/cgroup/unified/docker.service"];
        assert_eq!(folders(groups, mounts), wanted.map(PathBuf::from));
    }
}
