//! The kernel's limit of real time, of which the [budget](super::budget) is a part.
//!
//! Unless somebody has set it, it is 95 % of each CPU. Who has used them up stands still for the rest of the period, even if nobody else
//! wants the CPU: a server at its limit loses 5 % of what it can do. The limit is there for the tasks of the fair class, and since Linux 6.12
//! they have another guard, the fair server, which gives them 5 % of each second on a CPU where they wait in vain. So a kernel without real
//! time for cgroups has no limit any more since then, and on the others there is none while containers take turns.
//!
//! What it was is kept in the name of an empty cgroup, which all agents of the machine see and which outlives them.
//!
//! Sources: Documentation/scheduler/sched-rt-group.rst, kernel/sched/deadline.c (`fair_server_init`).

use crate::sys::release;
use std::io;
use std::path::{Path, PathBuf};

/// The first kernel with the fair server.
const FAIR_SERVER: (u32, u32) = (6, 12);
/// Followed by what the limit was, in us of the period: the machine's, and the root cgroup's.
const MARK: &str = "migrate-turns-limit-";

/// The limit of one machine.
#[derive(Debug)]
pub(super) struct Limit {
    root: PathBuf,
    machine: Share,
    group: Share,
}

/// Two files: how many us of how many.
#[derive(Debug)]
struct Share {
    runtime: PathBuf,
    period: PathBuf,
}

impl Limit {
    /// `root`: of the `cpu` controller's tree. `None`: the kernel has nothing else to guard its tasks.
    pub(super) fn new(root: &Path) -> Option<Self> {
        (release::running()? >= FAIR_SERVER).then(|| Self::at(root, Path::new("/proc/sys/kernel")))
    }

    fn at(root: &Path, kernel: &Path) -> Self {
        let share = |folder: &Path, prefix: &str| Share {
            runtime: folder.join(format!("{prefix}rt_runtime_us")),
            period: folder.join(format!("{prefix}rt_period_us")),
        };
        Self { root: root.to_owned(), machine: share(kernel, "sched_"), group: share(root, "cpu.") }
    }

    /// Lifts the limit, if it is lower. What the root has can never be more than what the machine has.
    pub(super) fn lift(&self) -> io::Result<()> {
        let (machine, group) = (self.machine.lifted()?, self.group.lifted()?);
        if machine.is_none() && group.is_none() {
            return Ok(());
        }
        if self.mark()?.is_none() {
            let before = format!("{MARK}{}-{}", number(&self.machine.runtime)?, number(&self.group.runtime)?);
            std::fs::create_dir(self.root.join(before))?;
        }
        machine.map_or(Ok(()), |us| self.machine.set(us))?;
        group.map_or(Ok(()), |us| self.group.set(us))
    }

    /// Sets it to what it was. What somebody has set meanwhile stays. Fails while a cgroup has more than that.
    pub(super) fn restore(&self) -> io::Result<()> {
        let Some((mark, machine, group)) = self.mark()? else { return Ok(()) };
        for (share, before) in [(&self.group, group), (&self.machine, machine)] {
            if number(&share.runtime)? == share.goal()? {
                share.set(before)?;
            }
        }
        std::fs::remove_dir(mark)
    }

    fn mark(&self) -> io::Result<Option<(PathBuf, i64, i64)>> {
        for entry in std::fs::read_dir(&self.root)?.flatten() {
            if let Some((machine, group)) = entry.file_name().to_str().and_then(parse) {
                return Ok(Some((entry.path(), machine, group)));
            }
        }
        Ok(None)
    }
}

impl Share {
    /// All of the time.
    fn goal(&self) -> io::Result<i64> {
        number(&self.period)
    }

    /// What it is to be; `None`: it stays. A negative number is no limit.
    fn lifted(&self) -> io::Result<Option<i64>> {
        let goal = self.goal()?;
        Ok((0..goal).contains(&number(&self.runtime)?).then_some(goal))
    }

    fn set(&self, us: i64) -> io::Result<()> {
        std::fs::write(&self.runtime, us.to_string())
    }
}

fn parse(name: &str) -> Option<(i64, i64)> {
    let (machine, group) = name.strip_prefix(MARK)?.split_once('-')?;
    Some((machine.parse().ok()?, group.parse().ok()?))
}

/// The number in a file of the kernel's.
pub(super) fn number(path: &Path) -> io::Result<i64> {
    std::fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's files, with these limits.
    struct Machine {
        folder: tempfile::TempDir,
        limit: Limit,
    }

    impl Machine {
        fn new(machine: &str, group: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (root, kernel) = (folder.path().join("cpu"), folder.path().join("kernel"));
            for (folder, prefix, runtime) in [(&root, "cpu.", group), (&kernel, "sched_", machine)] {
                std::fs::create_dir(folder).unwrap();
                std::fs::write(folder.join(format!("{prefix}rt_period_us")), "1000000\n").unwrap();
                std::fs::write(folder.join(format!("{prefix}rt_runtime_us")), format!("{runtime}\n")).unwrap();
            }
            let limit = Limit::at(&root, &kernel);
            Self { folder, limit }
        }

        /// The limits, and how many marks there are.
        fn state(&self) -> (i64, i64, usize) {
            let folders =
                std::fs::read_dir(self.folder.path().join("cpu")).unwrap().flatten().filter(|entry| entry.path().is_dir());
            (number(&self.limit.machine.runtime).unwrap(), number(&self.limit.group.runtime).unwrap(), folders.count())
        }
    }

    #[test]
    fn it_is_lifted_once_and_restored() {
        let machine = Machine::new("950000", "900000");
        machine.limit.lift().unwrap();
        assert_eq!(machine.state(), (1_000_000, 1_000_000, 1));
        machine.limit.lift().unwrap();
        machine.limit.restore().unwrap();
        assert_eq!(machine.state(), (950_000, 900_000, 0));
        machine.limit.restore().unwrap();
        assert_eq!(machine.state(), (950_000, 900_000, 0));
    }

    #[test]
    fn it_is_lifted_no_further_than_somebody_has_set_it() {
        for (machine, group) in [(-1, -1), (1_000_000, 1_000_000)] {
            let files = Machine::new(&machine.to_string(), &group.to_string());
            files.limit.lift().unwrap();
            assert_eq!(files.state(), (machine, group, 0));
        }
        let group_alone = Machine::new("1000000", "950000");
        group_alone.limit.lift().unwrap();
        assert_eq!(group_alone.state(), (1_000_000, 1_000_000, 1));
        group_alone.limit.restore().unwrap();
        assert_eq!(group_alone.state(), (1_000_000, 950_000, 0));
    }

    #[test]
    fn what_somebody_sets_meanwhile_stays() {
        let machine = Machine::new("950000", "950000");
        machine.limit.lift().unwrap();
        machine.limit.machine.set(980_000).unwrap();
        machine.limit.restore().unwrap();
        assert_eq!(machine.state(), (980_000, 950_000, 0));
    }

    #[test]
    fn an_agent_that_was_killed_between_leaves_what_the_next_one_ends() {
        let machine = Machine::new("950000", "950000");
        std::fs::create_dir(machine.limit.root.join(format!("{MARK}950000-940000"))).unwrap();
        machine.limit.lift().unwrap();
        assert_eq!(machine.state(), (1_000_000, 1_000_000, 1));
        machine.limit.restore().unwrap();
        assert_eq!(machine.state(), (950_000, 940_000, 0));
    }
}
