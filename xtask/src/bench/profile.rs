//! Where the CPU time of a recorded run went: the container, of it the eBPF programs, and the agent's threads.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use super::{
    bpf::{Cost, Statistics},
    containers::{Container, Stage},
    cpu,
    load::{self, Done},
    workloads::Workload,
};

/// CPU seconds per second of one part.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    pub name: String,
    pub cpus: f64,
    /// Of an eBPF program: runs per second, and nanoseconds of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_per_run: Option<f64>,
}

/// One recorded run.
#[derive(Debug, Clone, Serialize)]
pub struct Profile {
    pub seconds: f64,
    /// Of the container, with the programs that ran in its system calls.
    pub container_cpus: f64,
    /// Nanoseconds of CPU time of the container per unit.
    pub container_ns_per_unit: f64,
    /// The agent's: they run in everybody's system calls, mostly in the container's.
    pub programs: Vec<Part>,
    /// By thread name, those that took a thousandth of a CPU.
    pub agent_threads: Vec<Part>,
}

/// What everybody had used at some time.
struct Moment {
    at: Instant,
    container: Duration,
    threads: BTreeMap<String, Duration>,
    programs: BTreeMap<String, Cost>,
}

/// Runs the load on a warm recorded container.
pub fn take(stage: &Stage, container: &Container, workload: &Workload, seconds: u32, warm: Option<Done>) -> Result<Profile> {
    let statistics = Statistics::enable()?;
    let agent = stage.agent()?;
    let look = || -> Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            container: cpu::of_cgroup(&container.cgroup)?,
            threads: cpu::of_threads(agent)?,
            programs: statistics.of_process(agent)?,
        })
    };
    let before = look()?;
    let done = load::measure(stage, workload, seconds, warm)?;
    let after = look()?;
    let took = (after.at - before.at).as_secs_f64();
    let container_s = (after.container - before.container).as_secs_f64();
    let agent_threads = after.threads.iter().filter_map(|(name, time)| {
        let cpus = time.saturating_sub(before.threads.get(name).copied().unwrap_or_default()).as_secs_f64() / took;
        (cpus >= 0.001).then(|| Part { name: name.clone(), cpus, runs_per_s: None, ns_per_run: None })
    });
    let programs = after.programs.iter().filter_map(|(name, cost)| {
        let old = before.programs.get(name).copied().unwrap_or_default();
        let (runs, ns) = (cost.runs.saturating_sub(old.runs) as f64, cost.ns.saturating_sub(old.ns) as f64);
        let part = Part { name: name.clone(), cpus: ns / 1e9 / took, runs_per_s: Some(runs / took), ns_per_run: Some(ns / runs) };
        (runs > 0.0).then_some(part)
    });
    let mut agent_threads: Vec<Part> = agent_threads.collect();
    agent_threads.sort_by(|a, b| b.cpus.total_cmp(&a.cpus));
    Ok(Profile {
        seconds: took,
        container_cpus: container_s / took,
        container_ns_per_unit: container_s * 1e9 / done.count,
        programs: programs.collect(),
        agent_threads,
    })
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "   container {:.3} CPUs, {:.0} ns a unit", self.container_cpus, self.container_ns_per_unit)?;
        for part in &self.programs {
            let (runs, ns) = (part.runs_per_s.unwrap_or(0.0), part.ns_per_run.unwrap_or(0.0));
            writeln!(f, "   eBPF {:<22} {:.3} CPUs, {runs:.0} runs/s of {ns:.0} ns", part.name, part.cpus)?;
        }
        for (index, part) in self.agent_threads.iter().enumerate() {
            let end = if index + 1 == self.agent_threads.len() { "" } else { "\n" };
            write!(f, "   agent's thread {:<12} {:.3} CPUs{end}", part.name, part.cpus)?;
        }
        Ok(())
    }
}
