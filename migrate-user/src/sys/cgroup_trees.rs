//! The trees of control groups that are mounted here, of either version, and where a task is in them.

use std::io;
use std::path::{Path, PathBuf};

/// The mounted trees.
#[derive(Debug)]
pub struct Trees(Vec<Tree>);

#[derive(Debug)]
struct Tree {
    /// Which folder of the hierarchy is seen there.
    root: String,
    at: PathBuf,
    /// Controllers and names of version 1; none: version 2.
    options: Option<String>,
}

impl Trees {
    /// As this process sees them: proc_pid_mountinfo(5).
    pub fn read() -> io::Result<Self> {
        std::fs::read_to_string("/proc/self/mountinfo").map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Tree::parse).collect())
    }

    /// The folder of a version 1 controller's tree that is mounted.
    #[must_use]
    pub fn mount(&self, controller: &str) -> Option<&Path> {
        self.of_version_1(controller).map(|tree| tree.at.as_path())
    }

    /// The folder of a version 1 controller's tree that a task is in; none if that tree is not seen here.
    #[must_use]
    pub fn folder(&self, pid: i32, controller: &str) -> Option<PathBuf> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let (_, path) = groups(&text).find(|(controllers, _)| controllers.split(',').any(|name| name == controller))?;
        self.of_version_1(controller)?.folder(path)
    }

    /// The folders of all trees that a task is in.
    pub fn folders(&self, pid: i32) -> io::Result<Vec<PathBuf>> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok(self.folders_in(&text))
    }

    fn folders_in(&self, text: &str) -> Vec<PathBuf> {
        let tree_of = |controllers: &str| match controllers.split(',').next() {
            Some("") | None => self.0.iter().find(|tree| tree.options.is_none()),
            Some(first) => self.of_version_1(first),
        };
        groups(text).filter_map(|(controllers, path)| tree_of(controllers)?.folder(path)).collect()
    }

    fn of_version_1(&self, controller: &str) -> Option<&Tree> {
        self.0.iter().find(|tree| tree.options.as_ref().is_some_and(|options| options.split(',').any(|name| name == controller)))
    }
}

impl Tree {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mut after = after.split(' ');
        let (root, at) = (before.next()?.to_owned(), PathBuf::from(before.next()?));
        let options = match after.next()? {
            "cgroup" => Some(after.nth(1)?.to_owned()),
            "cgroup2" => None,
            _ => return None,
        };
        Some(Self { root, at, options })
    }

    /// Where a group is seen. `None`: not below this mount.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        Some(self.at.join(below))
    }
}

/// Controllers and path of each line of a /proc/PID/cgroup: cgroups(7).
fn groups(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 20 0:22 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
26 20 0:23 / /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd
27 20 0:24 /host /sys/fs/cgroup/unified rw - cgroup2 none rw
28 20 0:25 / /proc rw - proc proc rw";

    #[test]
    fn a_task_s_folders_are_found_in_both_versions_trees() {
        let groups = "4:cpuacct,cpu:/system.slice\n3:memory:/x\n1:name=systemd:/docker.service\n0::/host/docker.service\n";
        let wanted =
            ["/sys/fs/cgroup/cpu/system.slice", "/sys/fs/cgroup/systemd/docker.service", "/sys/fs/cgroup/unified/docker.service"];
        assert_eq!(Trees::parse(MOUNTS).folders_in(groups), wanted.map(PathBuf::from));
        assert!(Trees::parse(MOUNTS).folders_in("0::/elsewhere\n").is_empty(), "it is not seen here");
    }

    #[test]
    fn a_controller_is_found_alone_and_among_others() {
        let trees = Trees::parse(MOUNTS);
        assert_eq!(trees.mount("cpu"), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(trees.mount("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(trees.mount("cpuset"), None);
    }
}
