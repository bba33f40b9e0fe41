//! `cargo xtask bench`: what recording costs, and how large the log is. Timings, never tests.

mod account;
mod attach;
mod bpf;
mod containers;
mod cpu;
mod event;
mod load;
mod pairs;
mod peers;
mod profile;
mod record;
mod report;
mod serialise;
mod traces;
mod workloads;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use migrate_tests::{
    images::Image,
    lab::{self, Lab},
};

use crate::{build, lab as lab_command, setup};
use containers::{Cpus, Stage};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Throughput recorded and not recorded, nanoseconds per event, bytes of log per request
    Record(record::RecordArgs),
    /// What taking turns costs: throughput of servers on one CPU, recorded and serialised, and neither
    Serialise(serialise::SerialiseArgs),
    /// Whether `migrate rates` leaves a trace on a container that serves: throughput before, while and after, and its settings
    Attach(attach::AttachArgs),
}

/// What every benchmark is told.
#[derive(Debug, Args)]
pub struct Common {
    /// Print only the last line, which is JSON
    #[arg(long)]
    json: bool,
    /// Pairs of runs of each workload
    #[arg(long, default_value_t = 7, value_name = "N")]
    pairs: usize,
    /// Seconds that a run is measured, after as much warm-up as it needs
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Where the lab keeps its files
    #[arg(long, env = "MIGRATE_LAB", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The `migrate` program to measure instead of the one that is built here
    #[arg(long, value_name = "FILE")]
    migrate: Option<PathBuf>,
    /// Neither install nor build anything first
    #[arg(long)]
    no_build: bool,
    /// Leave the lab up
    #[arg(long)]
    keep_lab: bool,
}

impl Common {
    /// Installs and builds what is missing. The path of the `migrate` to measure.
    fn prepare(&self, root: &Path) -> Result<PathBuf> {
        if self.pairs == 0 {
            bail!("--pairs 0 would measure nothing");
        }
        if let Some(pid) = agents()?.first() {
            bail!(
                "an agent runs (process {pid}), whose programs look at each call of the machine, those of what is compared with too; \
                 end it first, `cargo xtask lab down` if it is a lab's"
            );
        }
        if !self.no_build {
            setup::run(root, setup::Options { quiet: true, ..setup::Options::default() })?;
            setup::bench()?;
            if self.migrate.is_none() {
                build::all(root, true)?;
            }
        }
        build::chosen(self.migrate.as_deref(), build::release_binary(root, "migrate"))
    }

    /// Measures on a lab of its own, which goes down afterwards however that ended.
    fn on_stage<T>(
        &self,
        root: &Path,
        images: &[Image],
        (rate, cpus): (&str, Cpus),
        migrate: PathBuf,
        measure: impl FnOnce(&mut Stage) -> Result<T>,
    ) -> Result<T> {
        let store = lab_command::store(root, images)?;
        let dir = self.dir.clone().unwrap_or_else(|| lab_command::dir(root, None).with_extension("bench"));
        let lab = Lab::up(&dir, &lab::Options { rate: rate.to_owned(), agents: false, migrate })?;
        let mut stage = Stage::new(lab, store, cpus, build::release_binary(root, "lab-client"))?;
        let measured = measure(&mut stage);
        stage.clear()?;
        if !self.keep_lab {
            Lab::down(&dir)?;
        }
        measured
    }

    /// Says something on the way to the result.
    fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }
}

/// The processes that are agents.
fn agents() -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let entry = entry.context("reading /proc")?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since.
        if fs::read(entry.path().join("cmdline")).is_ok_and(|line| is_agent(&line)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether a command line, each word of which ends in a zero, is `migrate agent`'s.
fn is_agent(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    program.rsplit(|byte| *byte == b'/').next() == Some(b"migrate") && words.any(|word| word == b"agent")
}

pub fn run(root: &Path, args: &BenchArgs) -> Result<ExitCode> {
    match &args.what {
        What::Record(args) => record::run(root, args),
        What::Serialise(args) => serialise::run(root, args),
        What::Attach(args) => attach::run(root, args),
    }
}

#[cfg(test)]
mod tests {
    use super::is_agent;

    #[test]
    fn an_agent_is_told_by_its_command_line() {
        assert!(is_agent(b"/opt/bin/migrate\0agent\0--socket\0x\0"));
        assert!(is_agent(b"migrate\0--json\0agent\0"));
        assert!(!is_agent(b"migrate\0ps\0"));
        assert!(!is_agent(b"vim\0migrate\0agent\0"));
        assert!(!is_agent(b""));
    }
}
