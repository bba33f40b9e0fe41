//! Version 1 cgroups: where a task is in a controller's tree.

use std::path::{Path, PathBuf};

/// The directory of a controller's tree that is seen here, if it is mounted as version 1.
#[must_use]
pub fn mount(controller: &str) -> Option<PathBuf> {
    parse_mount(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, controller)
}

/// The directory of a controller's tree that a task is in; none if that tree is not mounted.
#[must_use]
pub fn of(pid: i32, controller: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let below = parse_cgroup(&text, controller)?;
    Some(mount(controller)?.join(Path::new(below).strip_prefix("/").ok()?))
}

fn parse_mount(text: &str, controller: &str) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        (right.next()? == "cgroup").then_some(())?;
        right.nth(1)?.split(',').any(|option| option == controller).then_some(())?;
        left.split(' ').nth(4).map(PathBuf::from)
    })
}

fn parse_cgroup<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers.split(',').any(|name| name == controller).then(|| fields.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_alone_and_among_others() {
        let text = "4:memory:/x\n2:cpu,cpuacct:/docker/4f\n1:name=systemd:/\n0::/y\n";
        assert_eq!(parse_cgroup(text, "cpuacct"), Some("/docker/4f"));
        assert_eq!(parse_cgroup(text, "cpu"), Some("/docker/4f"));
        assert_eq!(parse_cgroup(text, "cpuset"), None);
        let mounts = "24 23 0:22 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                      25 23 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mount(mounts, "cpu").unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(parse_mount(mounts, "cpuset"), None);
    }
}
