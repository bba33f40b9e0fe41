//! Where CPU time goes: control groups, processes and their threads, and whole CPUs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use migrate_tests::lab::cgroup::unified;

/// The version 2 control group of a process.
pub fn cgroup(pid: i32) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).with_context(|| format!("process {pid} has ended"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup v2 tree")?;
    Ok(unified().join(path))
}

/// CPU time that a control group has used.
pub fn of_cgroup(cgroup: &Path) -> Result<Duration> {
    let path = cgroup.join("cpu.stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let usec = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(usec.context("cpu.stat tells no usage")?.trim().parse()?))
}

/// CPU time that each thread of a process has used, by name; threads that have ended are not among them.
pub fn of_threads(pid: i32) -> Result<BTreeMap<String, Duration>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} has ended"))?.flatten() {
        // A thread may end while they are listed.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let ns: u64 = text.split(' ').next().unwrap_or_default().parse()?;
        *threads.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(ns);
    }
    Ok(threads)
}

/// The fields of /proc/PID/stat from the third on: proc_pid_stat(5).
fn stat(pid: i32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
    // The name, in parentheses, may hold anything.
    Ok(text.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect())
}

/// Whether a process runs until it blocks: under SCHED_FIFO.
pub fn takes_turns(pid: i32) -> Result<bool> {
    Ok(stat(pid)?.get(38).and_then(|policy| policy.parse().ok()) == Some(libc::SCHED_FIFO))
}

/// CPU time that a process has used, ended threads included.
pub fn of_process(pid: i32) -> Result<Duration> {
    let fields = stat(pid)?;
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    // SAFETY: sysconf takes no pointers.
    let per_s = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1000 / per_s))
}

/// What a CPU of the machine has done since the start, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    /// Of the CPU with this number.
    pub fn of_cpu(number: &str) -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        Self::parse(&text, number).with_context(|| format!("/proc/stat tells nothing of CPU {number}"))
    }

    /// From the line `cpu1 user nice system idle iowait irq softirq steal guest guest_nice`: proc_stat(5). The first two hold the last
    /// two as well.
    fn parse(text: &str, number: &str) -> Option<Self> {
        let mut words =
            text.lines().find_map(|line| line.strip_prefix("cpu")?.strip_prefix(number)?.strip_prefix(' '))?.split(' ');
        let mut sum = |fields| (0..fields).map(|_| words.next()?.parse::<u64>().ok()).sum::<Option<u64>>();
        let (before, idle, after) = (sum(3)?, sum(2)?, sum(3)?);
        Some(Self { all: before + idle + after, idle })
    }

    /// The share of the time since then in which it was not idle; not a number if there was none.
    pub fn busy_since(self, before: Self) -> f64 {
        // The kernel's count of waits for disks may go down.
        1.0 - self.idle.saturating_sub(before.idle) as f64 / self.all.saturating_sub(before.all) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  90 0 90 900 0 0 0 0 0 0\ncpu1 50 1 40 400 9 2 3 4 7 1\ncpu11 1 1 1 1 1 1 1 1 1 1\nintr 5 0\n";

    #[test]
    fn a_cpu_s_ticks_are_those_of_its_own_line() {
        assert_eq!(Ticks::parse(BEFORE, "1"), Some(Ticks { all: 509, idle: 409 }));
        assert_eq!(Ticks::parse(BEFORE, "11"), Some(Ticks { all: 8, idle: 2 }));
        assert_eq!(Ticks::parse(BEFORE, "0"), None);
        assert_eq!(Ticks::parse("cpu1 50 1 40\n", "1"), None);
        assert!(Ticks::of_cpu("0").unwrap().all > 0);
    }

    #[test]
    fn a_cpu_is_busy_when_it_neither_idles_nor_waits() {
        let before = Ticks::parse(BEFORE, "1").unwrap();
        let busy = |line: &str| Ticks::parse(line, "1").unwrap().busy_since(before);
        assert_eq!(busy("cpu1 110 1 60 410 19 2 3 4 57 1\n"), 0.8);
        assert_eq!(busy("cpu1 50 1 40 400 9 2 3 14 7 1\n"), 1.0);
        assert_eq!(busy("cpu1 50 1 40 410 9 2 3 4 7 1\n"), 0.0);
    }
}
