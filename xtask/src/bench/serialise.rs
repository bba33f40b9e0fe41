//! `cargo xtask bench serialise`: servers on one CPU, recorded with their tasks taking turns, beside the same on that CPU neither
//! recorded nor serialised.

use std::{fmt, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use migrate_tests::{images::Image, lab::UNLIMITED, workloads as moved};
use serde::Serialize;
use serde_json::json;

use super::{
    Common,
    containers::{Cpus, Stage},
    pairs::{Pair, Spread},
    record,
    report::Verdict,
    workloads::{FILE, Load, WORKLOADS, Workload},
};

/// The least that recorded and serialised / neither is to be.
const GOAL: f64 = 0.90;
/// The share of the time for which the server's CPU is busy, neither recorded nor serialised, from which on the throughput is what that CPU
/// gives. Below, it is what the load generator gives: the goal says nothing of that.
const SATURATED_FROM: f64 = 0.97;
/// Of the workloads of `bench record`.
const SERVERS: [&str; 3] = ["nginx", "redis-1-client", "redis-50-clients"];
/// The last of them again, under a load that is always there before the server is.
const SATURATED: &str = "redis-saturated";
/// Its connections. The load generator loses its CPU to the agent for some milliseconds now and then: as many commands are on their way as
/// the server takes that long for, or it would wait.
const SATURATING_CLIENTS: u32 = 400;
/// Of the demo's workloads: how many connections, and what they ask for.
const THREADED: [(&str, u32, &str); 3] =
    [("apache-event", 40, FILE), ("apache-prefork", 100, FILE), ("python-threads", 20, ":8080/entry?7")];

#[derive(Debug, Args)]
pub struct SerialiseArgs {
    #[command(flatten)]
    common: Common,
    /// Only this server; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

/// One server's result.
#[derive(Debug, Serialize)]
struct Row {
    /// Of throughput recorded and serialised / neither.
    #[serde(flatten)]
    verdict: Verdict,
    /// The same for each second in which the server's CPU was not idle, where the load leaves it idle: what its CPU gives.
    ratio_of_cpu: f64,
    serialised_per_s: f64,
    plain_per_s: f64,
    /// The share of the time in which the server's CPU was not idle: where it is near 1, the server was the slower side.
    serialised_busy: f64,
    plain_busy: f64,
    /// Whether the throughput is that of one CPU, so that the goal is for it. The recorded runs have no say in that: a CPU that is idle in
    /// those alone is a part of what recording costs.
    saturated: bool,
    runs: Vec<Pair>,
}

impl Row {
    fn new(workload: &Workload, runs: Vec<Pair>) -> Self {
        let plain_busy = Spread::of(runs.iter().filter_map(|pair| pair.plain_busy)).median;
        let saturated = plain_busy >= SATURATED_FROM;
        let judged = Workload { goal: workload.goal.filter(|_| saturated), ..*workload };
        Self {
            verdict: Verdict::of(&judged, &runs),
            ratio_of_cpu: Spread::of(runs.iter().filter_map(Pair::ratio_of_cpu)).median,
            serialised_per_s: Spread::of(runs.iter().map(|pair| pair.recorded)).median,
            plain_per_s: Spread::of(runs.iter().map(|pair| pair.plain)).median,
            serialised_busy: Spread::of(runs.iter().filter_map(|pair| pair.recorded_busy)).median,
            plain_busy,
            saturated,
            runs,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict.line("serialised and recorded / neither"))?;
        write!(f, "; the server's CPU was busy for {:.3} and {:.3} of the time", self.serialised_busy, self.plain_busy)?;
        write!(f, ", {:.4} for each second of that", self.ratio_of_cpu)?;
        if self.saturated {
            return Ok(());
        }
        write!(f, "; not judged: the load leaves the CPU idle, so this is not the throughput that it gives")
    }
}

fn servers() -> Result<Vec<Workload>> {
    let chosen = WORKLOADS.iter().filter(|workload| SERVERS.contains(&workload.name));
    let mut all: Vec<Workload> = chosen.map(|workload| Workload { goal: Some(GOAL), ..*workload }).collect();
    // redis-benchmark takes more CPU time for a command than the server does.
    let saturated = all.iter().find_map(|workload| match workload.load {
        Load::Redis { clients, .. } if clients > 1 => {
            Some(Workload { name: SATURATED, load: Load::RedisLight { clients: SATURATING_CLIENTS }, ..*workload })
        }
        _ => None,
    });
    all.extend(saturated);
    for (name, connections, at) in THREADED {
        let server = moved::find(name).with_context(|| format!("no workload is called {name}"))?;
        let load = Load::Http { connections, at };
        let (image, command) = (server.image, server.command);
        all.push(Workload { name, image, command, rate: UNLIMITED, load, goal: Some(GOAL) });
    }
    Ok(all)
}

pub fn run(root: &Path, args: &SerialiseArgs) -> Result<ExitCode> {
    let common = &args.common;
    let mut servers = servers()?;
    if let Some(unknown) = args.only.iter().find(|name| servers.iter().all(|server| server.name != **name)) {
        let names: Vec<&str> = servers.iter().map(|server| server.name).collect();
        bail!("no server is called {unknown}; there are {}", names.join(", "));
    }
    servers.retain(|server| args.only.is_empty() || args.only.iter().any(|only| only == server.name));
    let migrate = common.prepare(root)?;
    let images: Vec<Image> = servers.iter().map(|server| server.image).collect();
    let rows = common.on_stage(root, &images, (UNLIMITED, Cpus::Last), migrate, |stage| measure(stage, &servers, common))?;
    println!("{}", json!({ "workloads": rows }));
    Ok(ExitCode::SUCCESS)
}

fn measure(stage: &mut Stage, servers: &[Workload], common: &Common) -> Result<Vec<Row>> {
    servers
        .iter()
        .map(|server| {
            let runs = record::pairs(stage, server, common).with_context(|| format!("measuring {}", server.name))?;
            let row = Row::new(server, runs);
            common.say(&row.to_string());
            Ok(row)
        })
        .collect()
}
