//! The version 2 cgroup of a task: where it is, its id, its tasks, and freezing it.
//!
//! The version 2 tree is under `/sys/fs/cgroup` on a pure host and under `/sys/fs/cgroup/unified` beside version 1; either
//! way `/proc/self/mountinfo` says so. Source: Documentation/admin-guide/cgroup-v2.rst; `cgroup.freeze` is Linux 5.2.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a freeze or a thaw may take until it counts as failed. Mostly it takes 0.05-0.5 ms; a task in an uninterruptible
/// sleep holds it up.
pub const FREEZE_BOUND: Duration = Duration::from_secs(5);

/// What can go wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no cgroup v2 tree is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`")]
    NotMounted,
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} says nothing about cgroup v2", .0.display())]
    NoLine(PathBuf),
    #[error("process {pid} is in cgroup {cgroup}, outside the tree mounted at {}", mount.display())]
    Outside { pid: i32, cgroup: String, mount: PathBuf },
    #[error("{} is not {wanted} {waited:?} after it was told so: a task may hang in the kernel", path.display())]
    Stuck { path: PathBuf, wanted: &'static str, waited: Duration },
}

/// A mounted version 2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    /// Where it is mounted.
    at: PathBuf,
    /// Which directory of the tree is seen there: `/` except in containers.
    root: String,
}

/// A task's version 2 cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup that process `pid` is in.
    pub fn of(pid: i32) -> Result<Self, CgroupError> {
        let tree = parse_mountinfo(&read(Path::new("/proc/self/mountinfo"))?).ok_or(CgroupError::NotMounted)?;
        let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = read(&file)?;
        let cgroup = parse_proc_cgroup(&text).ok_or(CgroupError::NoLine(file))?;
        let path = tree.path_of(cgroup).ok_or_else(|| CgroupError::Outside {
            pid,
            cgroup: cgroup.to_owned(),
            mount: tree.at.clone(),
        })?;
        Ok(Self { path })
    }

    /// The cgroup whose directory this is.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the version 2 tree is mounted.
    pub fn mount() -> Result<PathBuf, CgroupError> {
        Ok(parse_mountinfo(&read(Path::new("/proc/self/mountinfo"))?).ok_or(CgroupError::NotMounted)?.at)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `bpf_get_current_cgroup_id` returns for its tasks: the directory's inode number.
    pub fn id(&self) -> Result<u64, CgroupError> {
        let meta = std::fs::metadata(&self.path).map_err(|source| CgroupError::Io {
            action: "look at",
            path: self.path.clone(),
            source,
        })?;
        Ok(meta.ino())
    }

    /// Processes in it, as this pid namespace numbers them, ascending. Cgroups below it are not counted.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        self.numbers("cgroup.procs")
    }

    /// Tasks, threads included, in it, ascending.
    pub fn tasks(&self) -> Result<Vec<i32>, CgroupError> {
        self.numbers("cgroup.threads")
    }

    fn numbers(&self, file: &str) -> Result<Vec<i32>, CgroupError> {
        let mut numbers: Vec<i32> = read(&self.path.join(file))?.lines().filter_map(|line| line.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Whether some task is alive in it or below.
    pub fn populated(&self) -> Result<bool, CgroupError> {
        self.event("populated")
    }

    /// Whether every task in it has stopped.
    pub fn frozen(&self) -> Result<bool, CgroupError> {
        self.event("frozen")
    }

    /// Its freezer.
    #[must_use]
    pub fn freezer(&self) -> Freezer {
        Freezer { cgroup: self.clone() }
    }

    fn event(&self, name: &str) -> Result<bool, CgroupError> {
        let path = self.path.join("cgroup.events");
        let text = read(&path)?;
        parse_event(&text, name).ok_or(CgroupError::NoLine(path))
    }
}

/// Stops and continues all tasks of a cgroup.
///
/// It is not undone when it is dropped: a source that is past its point of no return stays frozen even if the agent dies.
#[derive(Clone, Debug)]
pub struct Freezer {
    cgroup: Cgroup,
}

impl Freezer {
    /// Stops all tasks and returns when the kernel says that they have.
    pub fn freeze(&self) -> Result<Duration, CgroupError> {
        self.set(true, FREEZE_BOUND)
    }

    /// Lets them go on, and returns when the kernel says that they do.
    pub fn thaw(&self) -> Result<Duration, CgroupError> {
        self.set(false, FREEZE_BOUND)
    }

    /// Asks the kernel to freeze or thaw, and does not wait until it has.
    pub fn ask(&self, frozen: bool) -> Result<(), CgroupError> {
        let path = self.cgroup.path.join("cgroup.freeze");
        let action = if frozen { "freeze by" } else { "thaw by" };
        std::fs::write(&path, if frozen { "1" } else { "0" }).map_err(|source| CgroupError::Io { action, path, source })
    }

    /// Freezes or thaws and reads it back; how long it took.
    pub fn set(&self, frozen: bool, bound: Duration) -> Result<Duration, CgroupError> {
        let start = Instant::now();
        self.ask(frozen)?;
        // Polled, first at once: a notification through poll(2) on cgroup.events may come 10 ms late by design.
        let mut pause = Duration::from_micros(20);
        while self.cgroup.frozen()? != frozen {
            if start.elapsed() > bound {
                let wanted = if frozen { "frozen" } else { "thawed" };
                return Err(CgroupError::Stuck { path: self.cgroup.path.clone(), wanted, waited: bound });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
        Ok(start.elapsed())
    }
}

impl Tree {
    /// The directory of a cgroup that `/proc/PID/cgroup` names.
    fn path_of(&self, cgroup: &str) -> Option<PathBuf> {
        // `/../x`: a cgroup outside the reader's cgroup namespace.
        let below = Path::new(cgroup).strip_prefix(&self.root).ok()?;
        let inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        inside.then(|| self.at.join(below))
    }
}

fn read(path: &Path) -> Result<String, CgroupError> {
    std::fs::read_to_string(path).map_err(|source| CgroupError::Io { action: "read", path: path.to_owned(), source })
}

/// The last mount wins: it hides those before it at the same place.
fn parse_mountinfo(text: &str) -> Option<Tree> {
    let trees = text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next()? == "cgroup2").then_some(())?;
        let mut fields = left.split(' ').skip(3);
        let root = unescape(fields.next()?);
        let at = PathBuf::from(unescape(fields.next()?));
        Some(Tree { at, root })
    });
    trees.reduce(|_, last| last)
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let mut out = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

fn parse_proc_cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

fn parse_event(text: &str, name: &str) -> Option<bool> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(|value| value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    const HYBRID: &str = "\
23 28 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
24 23 0:22 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 23 0:31 / /sys/fs/cgroup/unified rw,relatime shared:5 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_tree_is_found_beside_version_1_and_alone() {
        let tree = parse_mountinfo(HYBRID).unwrap();
        assert_eq!(tree, Tree { at: "/sys/fs/cgroup/unified".into(), root: "/".into() });
        let pure = "29 23 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(parse_mountinfo(pure).unwrap().at, Path::new("/sys/fs/cgroup"));
        assert_eq!(parse_mountinfo("24 23 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
    }

    #[test]
    fn a_cgroup_outside_what_is_mounted_is_not_guessed() {
        let tree = Tree { at: "/cg".into(), root: "/docker/a".into() };
        assert_eq!(tree.path_of("/docker/a/b").unwrap(), Path::new("/cg/b"));
        assert_eq!(tree.path_of("/docker/b"), None);
        let tree = Tree { at: "/cg".into(), root: "/".into() };
        assert_eq!(tree.path_of("/../x"), None);
        assert_eq!(tree.path_of("/").unwrap(), Path::new("/cg/"));
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescape(r"/a\040b\134c\x"), r"/a b\c\x");
    }

    #[test]
    fn only_the_version_2_line_counts() {
        assert_eq!(parse_proc_cgroup("4:memory:/x\n0::/docker/4f\n"), Some("/docker/4f"));
        assert_eq!(parse_proc_cgroup("4:memory:/x\n"), None);
        assert_eq!(parse_event("populated 1\nfrozen 0\n", "frozen"), Some(false));
    }

    /// A cgroup of the test's own with one process that counts, both removed at the end.
    struct Counting {
        cgroup: Cgroup,
        child: Child,
    }

    impl Counting {
        fn start(name: &str) -> Option<Self> {
            if !nix::unistd::geteuid().is_root() {
                eprintln!("skipped: needs root");
                return None;
            }
            let path = Cgroup::mount().ok()?.join(format!("migrate-test-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).ok()?;
            let child = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
            std::fs::write(path.join("cgroup.procs"), child.id().to_string()).unwrap();
            Some(Self { cgroup: Cgroup::at(path), child })
        }

        fn cpu_ticks(&self) -> u64 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            stat.rsplit(") ").next().unwrap().split(' ').nth(11).unwrap().parse().unwrap()
        }
    }

    impl Drop for Counting {
        fn drop(&mut self) {
            let _ = self.cgroup.freezer().thaw();
            let _ = self.child.kill();
            let _ = self.child.wait();
            while self.cgroup.populated().is_ok_and(|populated| populated) {
                std::thread::yield_now();
            }
            let _ = std::fs::remove_dir(self.cgroup.path());
        }
    }

    #[test]
    fn a_frozen_cgroup_computes_nothing_until_it_is_thawed() {
        let Some(group) = Counting::start("freeze") else { return };
        let pid = group.child.id() as i32;
        assert_eq!(Cgroup::of(pid).unwrap(), group.cgroup);
        assert_eq!(group.cgroup.processes().unwrap(), [pid]);
        assert_eq!(group.cgroup.tasks().unwrap(), [pid]);
        assert_ne!(group.cgroup.id().unwrap(), Cgroup::of(std::process::id() as i32).unwrap().id().unwrap());

        let freezer = group.cgroup.freezer();
        freezer.freeze().unwrap();
        assert!(group.cgroup.frozen().unwrap());
        let before = group.cpu_ticks();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(group.cpu_ticks(), before);
        freezer.thaw().unwrap();
        assert!(!group.cgroup.frozen().unwrap());
        while group.cpu_ticks() == before {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_cgroup_that_is_gone_is_an_error_with_its_path() {
        let error = Cgroup::at("/sys/fs/cgroup/nowhere").freezer().freeze().unwrap_err();
        assert!(error.to_string().contains("/sys/fs/cgroup/nowhere/cgroup.freeze"), "{error}");
    }
}
