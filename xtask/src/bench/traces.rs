//! Whether a measurement left a trace on a container: its processes' and control group's settings, and whether a task stood still.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, anyhow};

use super::containers::Container;

/// How often the watch looks.
const LOOK: Duration = Duration::from_millis(2);
/// What of `/proc/PID/status` is a setting.
const STATUS: &[&str] = &[
    "TracerPid:",
    "Uid:",
    "Gid:",
    "Threads:",
    "SigBlk:",
    "SigIgn:",
    "SigCgt:",
    "CapInh:",
    "CapPrm:",
    "CapEff:",
    "CapBnd:",
    "CapAmb:",
    "NoNewPrivs:",
    "Seccomp:",
    "Seccomp_filters:",
    "Cpus_allowed:",
    "Mems_allowed:",
];
/// Files of a process that hold settings.
const FILES: &[&str] = &["personality", "limits", "oom_score_adj", "cgroup", "timerslack_ns", "sched"];
/// Settings of a control group.
const GROUP: &[&str] =
    &["cgroup.freeze", "cgroup.events", "cgroup.type", "cgroup.procs", "cgroup.max.depth", "cgroup.max.descendants"];
/// The machine's.
const MACHINE: &[&str] = &["/proc/sys/kernel/bpf_stats_enabled", "/proc/sys/kernel/perf_event_paranoid"];

/// Settings by the name of the file and the field.
pub type Settings = BTreeMap<String, String>;

/// What is set now.
pub fn settings(container: &Container) -> Settings {
    let mut found = Settings::new();
    let mut put = |name: String, path: &Path, keep: &dyn Fn(&str) -> bool| {
        // A kernel may lack a file; it lacks it afterwards, too.
        let text = fs::read_to_string(path).unwrap_or_default();
        found.insert(name, text.lines().filter(|line| keep(line)).collect::<Vec<_>>().join("\n"));
    };
    for pid in processes(&container.cgroup) {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        put(format!("{pid}/status"), &folder.join("status"), &|line| STATUS.iter().any(|field| line.starts_with(field)));
        for file in FILES {
            // Of `sched`, which counts as well, only policy and priority.
            put(format!("{pid}/{file}"), &folder.join(file), &|line| {
                *file != "sched" || line.starts_with("policy") || line.starts_with("prio")
            });
        }
    }
    for file in GROUP {
        put((*file).to_owned(), &container.cgroup.join(file), &|_| true);
    }
    for file in MACHINE {
        put((*file).to_owned(), Path::new(file), &|_| true);
    }
    found
}

/// What differs, by name.
pub fn changes(before: &Settings, after: &Settings) -> Vec<String> {
    let names = before.keys().chain(after.keys());
    let mut changed: Vec<String> = names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
    changed.sort();
    changed.dedup();
    changed
}

/// Looks again and again whether a task of the container is stopped, traced or frozen.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub fn start(container: &Container) -> Result<Self> {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count, cgroup) = (Arc::clone(&stop), Arc::clone(&seen), container.cgroup.clone());
        let tasks: Vec<PathBuf> = processes(&cgroup).iter().map(|pid| PathBuf::from(format!("/proc/{pid}/status"))).collect();
        let thread = thread::Builder::new().name("watch".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let held = tasks.iter().filter(|task| fs::read_to_string(task).is_ok_and(|text| stands(&text))).count();
                let frozen = fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|text| text.contains("frozen 1"));
                count.fetch_add(held as u64 + u64::from(frozen), Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        })?;
        Ok(Self { stop, seen, thread })
    }

    /// How often something stood still.
    pub fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watch panicked"))?;
        Ok(self.seen.load(Ordering::Relaxed))
    }
}

/// Whether a task's status tells that it is stopped or traced.
fn stands(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    field("State:").starts_with(['t', 'T']) || field("TracerPid:") != "0"
}

/// The processes in a control group.
pub fn processes(cgroup: &Path) -> Vec<i32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_or_traced_task_stands() {
        assert!(!stands("State:\tS (sleeping)\nTracerPid:\t0\n"));
        assert!(stands("State:\tT (stopped)\nTracerPid:\t0\n"));
        assert!(stands("State:\tR (running)\nTracerPid:\t7\n"));
    }

    #[test]
    fn changes_are_named_whichever_side_they_are_on() {
        let settings =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Settings>();
        let (before, after) = (settings(&[("a", "1"), ("b", "2")]), settings(&[("a", "1"), ("b", "3"), ("c", "4")]));
        assert_eq!(changes(&before, &after), ["b", "c"]);
        assert!(changes(&before, &before).is_empty());
    }
}
