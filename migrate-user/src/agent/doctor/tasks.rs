//! What the tasks of a running container have that matters to a move, as /proc shows it.

use crate::sys::cgroup::{Cgroup, CgroupError};
use crate::sys::mappings::Mapping;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Devices that are the same on every host.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// Objects without a name that can be built again, as /proc shows them.
const OBJECTS: [&str; 6] = ["[eventfd]", "[timerfd]", "[signalfd]", "inotify", "[eventpoll]", "[pidfd]"];

/// All tasks of a container together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    pub processes: usize,
    /// Threads included.
    pub tasks: usize,
    /// Memory that is mapped to be shared and written, by the name that /proc shows, and how many processes have it.
    pub shared: BTreeMap<String, usize>,
    /// Open files and mappings that cannot be built on another host, each with one process that has it.
    pub obstacles: BTreeMap<String, i32>,
}

/// A container's tasks could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

impl Tasks {
    /// Looks at all tasks in the cgroup of `pid`, a host's number, and below it. They run meanwhile: what comes or goes then may
    /// be missed.
    pub fn look(pid: i32) -> Result<Self, TasksError> {
        let mut found = Self::default();
        let mut folders = vec![Cgroup::of(pid)?];
        while let Some(cgroup) = folders.pop() {
            found.tasks += cgroup.tasks()?.len();
            for process in cgroup.processes()? {
                found.process(Path::new("/proc"), process)?;
            }
            for entry in fs::read_dir(cgroup.path()).map_err(at(cgroup.path()))?.flatten() {
                if entry.path().is_dir() {
                    folders.push(Cgroup::at(entry.path()));
                }
            }
        }
        Ok(found)
    }

    fn process(&mut self, proc: &Path, pid: i32) -> Result<(), TasksError> {
        let folder = proc.join(pid.to_string());
        let maps = folder.join("maps");
        let Some(text) = gone(fs::read_to_string(&maps)).map_err(at(&maps))? else { return Ok(()) };
        self.processes += 1;
        let mappings: BTreeSet<&str> = text.lines().filter_map(shared_name).collect();
        for name in mappings {
            *self.shared.entry(name.to_owned()).or_default() += 1;
            if is_device(name) {
                self.obstacles.insert(format!("mapping of {name}"), pid);
            }
        }
        let fds = folder.join("fd");
        let Some(entries) = gone(fs::read_dir(&fds)).map_err(at(&fds))? else { return Ok(()) };
        for entry in entries.flatten() {
            // A descriptor may be closed meanwhile.
            let Ok(link) = fs::read_link(entry.path()) else { continue };
            if let Some(obstacle) = obstacle(&link.to_string_lossy()) {
                self.obstacles.insert(obstacle, pid);
            }
        }
        Ok(())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> TasksError {
    let path = path.to_owned();
    move |source| TasksError::Read { path, source }
}

/// A process may end while it is looked at.
fn gone<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a mapping that is shared and can be written, of a line of /proc/PID/maps.
fn shared_name(line: &str) -> Option<&str> {
    let mapping = Mapping::parse(line)?;
    let name = match mapping.name {
        "/dev/zero (deleted)" | "" => "anonymous memory",
        name => name,
    };
    (mapping.is_readable() && mapping.is_writable() && mapping.is_shared()).then_some(name)
}

fn is_device(name: &str) -> bool {
    name.starts_with("/dev/") && !name.starts_with("/dev/shm/") && !DEVICES.contains(&name)
}

/// What of an open file cannot be built on another host, by its link in /proc/PID/fd.
fn obstacle(link: &str) -> Option<String> {
    match link.strip_prefix("anon_inode:") {
        Some(object) if OBJECTS.contains(&object) => None,
        Some(object) => Some(object.trim_matches(['[', ']']).to_owned()),
        None if is_device(link) => Some(format!("device {link}")),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_shared_and_written_is_found() {
        let at = "7f0000000000-7f0000001000";
        for (line, wanted) in [
            (format!("{at} rw-s 00000000 00:01 7     /dev/zero (deleted)"), Some("anonymous memory")),
            (format!("{at} rw-s 00000000 00:3a 2     /dev/shm/a file"), Some("/dev/shm/a file")),
            (format!("{at} r--s 00000000 00:3a 2     /usr/lib/gconv.cache"), None),
            (format!("{at} rw-p 00000000 00:00 0 "), None),
            ("nonsense".to_owned(), None),
        ] {
            assert_eq!(shared_name(&line), wanted, "{line}");
        }
    }

    #[test]
    fn devices_and_objects_of_other_kinds_stand_in_the_way() {
        for link in ["/dev/null", "/data/file", "socket:[12]", "pipe:[3]", "anon_inode:[eventpoll]", "anon_inode:inotify"] {
            assert_eq!(obstacle(link), None, "{link}");
        }
        assert_eq!(obstacle("/dev/kvm").as_deref(), Some("device /dev/kvm"));
        assert_eq!(obstacle("/dev/pts/0").as_deref(), Some("device /dev/pts/0"));
        assert_eq!(obstacle("anon_inode:[io_uring]").as_deref(), Some("io_uring"));
    }

    #[test]
    fn a_process_is_looked_at_as_it_is() {
        let device = fs::File::open("/dev/tty0").or_else(|_| fs::File::open("/dev/ptmx"));
        let mut tasks = Tasks::default();
        tasks.process(Path::new("/proc"), std::process::id() as i32).unwrap();
        assert_eq!(tasks.processes, 1);
        assert_eq!(tasks.obstacles.keys().any(|name| name.starts_with("device ")), device.is_ok());
        // Nobody has this number.
        tasks.process(Path::new("/proc"), i32::MAX).unwrap();
        assert_eq!(tasks.processes, 1);
    }
}
