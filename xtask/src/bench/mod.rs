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
mod traces;
mod workloads;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{build, setup};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Throughput recorded and not recorded, nanoseconds per event, bytes of log per request
    Record(record::RecordArgs),
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
        if !self.no_build {
            setup::run(root, setup::Options { quiet: true, ..setup::Options::default() })?;
            setup::bench()?;
            if self.migrate.is_none() {
                build::all(root, true)?;
            }
        }
        let migrate = self.migrate.clone().unwrap_or_else(|| build::release_binary(root, "migrate"));
        std::path::absolute(&migrate).with_context(|| format!("cannot resolve {}", migrate.display()))
    }

    /// Says something on the way to the result.
    fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }
}

pub fn run(root: &Path, args: &BenchArgs) -> Result<ExitCode> {
    match &args.what {
        What::Record(args) => record::run(root, args),
        What::Attach(args) => attach::run(root, args),
    }
}
