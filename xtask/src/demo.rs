//! `cargo xtask demo`: a container moves in the lab, under load, and everything is checked.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use migrate_tests::{
    lab::{self, Lab, UNLIMITED},
    migration::{self, Outcome, Phase, Plan, Summary},
    workloads::{self, WORKLOADS},
};

use crate::{build, lab as lab_command, paths, setup};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// idle, web, static, dynamic, prefork, inputs, handover, table, threads, shm, signals, redis, apache-event, apache-prefork,
    /// python-threads, nodejs, java, sqlite or sqlite-wal
    #[arg(long, short, default_value = "web")]
    workload: String,
    /// Move so many times, each from a fresh start; the last line is a summary
    #[arg(long, short, value_name = "N")]
    repeat: Option<usize>,
    /// The target's agent dies at this point of the move
    #[arg(long, value_name = "PHASE")]
    kill: Option<KillPhase>,
    /// Do not move: only start the workload, load it and check everything
    #[arg(long, conflicts_with = "kill")]
    stay: bool,
    /// A page of the replica's memory is spoilt before it is compared; for workload table, which notices
    #[arg(long, conflicts_with = "kill")]
    spoil: bool,
    /// What of the memory is compared: off, touched or all
    #[arg(long, default_value = "touched")]
    verify: String,
    /// No limit on links and clients: more than the replica can follow
    #[arg(long)]
    unlimited: bool,
    /// What each link carries in each direction, as `tc` writes it
    #[arg(long, default_value = "1gbit", conflicts_with = "unlimited")]
    rate: String,
    /// Seconds of load before the move and after it, at least
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    around: f64,
    /// Give the target the image beforehand; without it the first move has to bring it
    #[arg(long)]
    image_on_target: bool,
    /// Print each result as a line of JSON
    #[arg(long)]
    json: bool,
    /// Where the lab keeps its files
    #[arg(long, env = "MIGRATE_LAB", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The `migrate` program to use instead of the one that is built here
    #[arg(long, value_name = "FILE")]
    migrate: Option<PathBuf>,
    /// Neither install nor build anything first
    #[arg(long)]
    no_build: bool,
    /// End the lab afterwards
    #[arg(long)]
    down: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KillPhase {
    Hello,
    Image,
    Round,
    Final,
    Ready,
    Go,
}

impl From<KillPhase> for Phase {
    fn from(phase: KillPhase) -> Self {
        match phase {
            KillPhase::Hello => Self::Hello,
            KillPhase::Image => Self::Image,
            KillPhase::Round => Self::Round,
            KillPhase::Final => Self::Final,
            KillPhase::Ready => Self::Ready,
            KillPhase::Go => Self::Go,
        }
    }
}

pub fn run(root: &Path, args: &DemoArgs) -> Result<ExitCode> {
    let names = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
    let workload = workloads::find(&args.workload)
        .with_context(|| format!("no workload is called {}; there are {}", args.workload, names()))?;
    if args.repeat == Some(0) {
        bail!("--repeat 0 would show nothing");
    }
    if !args.no_build {
        setup::run(root, setup::Options { quiet: true, ..setup::Options::default() })?;
        build::all(root, false)?;
    }
    let store = lab_command::store(root, &[workload.image])?;
    let dir = lab_command::dir(root, args.dir.clone());
    let rate = if args.unlimited { UNLIMITED.to_string() } else { args.rate.clone() };
    let migrate = build::chosen(args.migrate.as_deref(), build::binary(root, "migrate"))?;
    let mut lab = Lab::up(&dir, &lab::Options { rate, agents: true, migrate })?;
    let mut plan = Plan {
        workload,
        kill: args.kill.map(Phase::from),
        spoil: args.spoil,
        verify: args.verify.clone(),
        unlimited: args.unlimited,
        stay: args.stay,
        image_on_target: args.image_on_target,
        around: Duration::try_from_secs_f64(args.around).context("--around is no time")?,
        client: build::binary(root, "lab-client"),
    };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for run in 1..=args.repeat.unwrap_or(1) {
        let outcome = migration::run(&mut lab, &store, &plan).unwrap_or_else(|error| Outcome::broken(&plan, chain(&error)));
        show(&outcome, run, args)?;
        outcomes.push(outcome);
        plan.image_on_target = true;
    }
    let summary = Summary::of(workload.name, &outcomes);
    if args.repeat.is_some() {
        if args.json {
            println!("{}", serde_json::to_string(&summary)?);
        } else {
            println!(
                "{}: {} of {} runs passed, down {:.1} ms (median)",
                workload.name, summary.passed, summary.runs, summary.down_ms_median
            );
        }
    }
    if summary.passed < summary.runs {
        eprintln!("the agents' own words are in {0}/h1/agent.log and {0}/h2/agent.log", paths::shown(&dir));
    }
    if args.down {
        Lab::down(&dir)?;
    }
    Ok(if summary.passed == summary.runs { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(outcome: &Outcome, run: usize, args: &DemoArgs) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(outcome)?);
        return Ok(());
    }
    let verdict = if outcome.passed { "passed" } else { "FAILED" };
    println!(
        "run {run}: {verdict}: moved {}, down {:.1} ms, clients waited {:.1} ms at most, total {:.0} ms, {} rounds, {} bytes of log ({} compressed)",
        outcome.moved,
        outcome.down_ms,
        outcome.client_pause_ms,
        outcome.total_ms,
        outcome.rounds,
        outcome.log_bytes,
        outcome.log_bytes_compressed
    );
    println!(
        "   {} connections went on, {} requests, {} failed, {} resets, {} wrong bodies; live on {}",
        outcome.connections,
        outcome.requests,
        outcome.failed_requests,
        outcome.resets,
        outcome.wrong_bodies,
        outcome.live_on.join(" and ")
    );
    if !outcome.counted.is_empty() {
        println!("   counted {}", serde_json::to_string(&outcome.counted)?);
    }
    for line in outcome.refusal.iter().chain(&outcome.ps).chain(&outcome.warnings).chain(&outcome.failures) {
        println!("   {line}");
    }
    Ok(())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
