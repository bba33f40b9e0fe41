//! `cargo xtask bench record`: throughput of containers that are recorded, beside the same ones that are not.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use migrate_tests::lab::UNLIMITED;
use serde_json::json;

use super::{
    Common, account,
    containers::{Cpus, Stage},
    event, load,
    pairs::{self, Mode, Pair, Run},
    peers, profile,
    report::Row,
    workloads::{WORKLOADS, Workload},
};

/// The part of the benchmark that needs no container.
const EVENT: &str = "event";

#[derive(Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    common: Common,
    /// Only this workload, or `event` for the costs of a call; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// One more recorded run of each workload that says where its CPU time went
    #[arg(long)]
    profile: bool,
    /// Without strace and tcpdump of the same loads
    #[arg(long)]
    no_peers: bool,
}

impl RecordArgs {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

pub fn run(root: &Path, args: &RecordArgs) -> Result<ExitCode> {
    if let Some(unknown) =
        args.only.iter().find(|name| *name != EVENT && WORKLOADS.iter().all(|workload| workload.name != **name))
    {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).chain([EVENT]).collect();
        bail!("no workload is called {unknown}; there are {}", names.join(", "));
    }
    let migrate = args.common.prepare(root)?;
    let chosen: Vec<&Workload> = WORKLOADS.iter().filter(|workload| args.wants(workload.name)).collect();
    let mut event = if args.wants(EVENT) { Some(event::run(root, &args.common)?) } else { None };
    if let Some(event) = &event {
        let (ns, bare) = (&event["ns_per_event"], &event["ns_per_event_bare"]);
        args.common
            .say(&format!("event          {ns:.0} ns recorded, {bare:.0} ns by a program that only submits as many bytes"));
    }
    let mut rows = Vec::new();
    if !chosen.is_empty() {
        let images: Vec<_> = chosen.iter().map(|workload| workload.image).collect();
        args.common.on_stage(root, &images, (UNLIMITED, Cpus::All), migrate, |stage| {
            let measured: Result<()> = chosen.iter().try_for_each(|workload| {
                let row = measure(stage, workload, args).with_context(|| format!("measuring {}", workload.name))?;
                args.common.say(&row.to_string());
                rows.push(row);
                Ok(())
            });
            if measured.is_err() {
                eprintln!("== the agent\n{}", stage.host()?.log_tail("agent", 20));
            }
            measured
        })?;
    }
    if let Some(event) = &mut event {
        event::judge(event);
    }
    let of_event = |field: &str| event.as_ref().map_or(serde_json::Value::Null, |event| event[field].clone());
    println!(
        "{}",
        json!({
            "workloads": rows,
            "ns_per_event": of_event("ns_per_event"),
            "ns_per_event_bare": of_event("ns_per_event_bare"),
            "event": event,
        })
    );
    Ok(ExitCode::SUCCESS)
}

/// Runs a workload's pairs.
pub fn pairs(stage: &mut Stage, workload: &Workload, common: &Common) -> Result<Vec<Pair>> {
    pairs::run(common.pairs, |index, mode| {
        let run = one(stage, workload, mode, common.seconds)?;
        let how = if mode == Mode::Recorded { "recorded" } else { "plain" };
        common.say(&format!("{:<14} pair {}: {how:<8} {:.1} {}/s", workload.name, index + 1, run.per_s, workload.load.unit()));
        Ok(run)
    })
}

fn measure(stage: &mut Stage, workload: &Workload, args: &RecordArgs) -> Result<Row> {
    let seconds = args.common.seconds;
    let pairs = pairs(stage, workload, &args.common)?;
    stage.start(workload, Mode::Recorded, load::amount(workload.load, seconds))?;
    let warm = load::warm_up(stage, workload)?;
    let account = account::take(stage, workload, seconds, warm)?;
    let mut row = Row::new(workload, pairs, account);
    if args.profile {
        let container = stage.start(workload, Mode::Recorded, load::amount(workload.load, seconds))?;
        let warm = load::warm_up(stage, workload)?;
        row.profile = Some(profile::take(stage, &container, workload, seconds, warm)?);
    }
    if !args.no_peers {
        row.peers = peers::measure(stage, workload);
    }
    stage.clear()?;
    Ok(row)
}

/// One run in a container of its own.
fn one(stage: &mut Stage, workload: &Workload, mode: Mode, seconds: u32) -> Result<Run> {
    let container = stage.start(workload, mode, load::amount(workload.load, seconds))?;
    let warm = load::warm_up(stage, workload)?;
    let (done, busy) = stage.busy_during(|| load::measure(stage, workload, seconds, warm))?;
    if mode == Mode::Recorded {
        account::check(stage, &container, 0)?;
        stage.check_turns(&container)?;
    }
    Ok(Run { per_s: done.per_s(), busy })
}
