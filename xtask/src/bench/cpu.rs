//! Where CPU time goes: control groups, threads, and eBPF programs by the kernel's own statistics.

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
