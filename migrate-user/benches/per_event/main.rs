//! What a recorded system call costs: a tight loop of one call, pinned to a CPU, in three states that alternate: no program, a
//! bare program that only asks for the cgroup and submits as many bytes (migrate-ebpf/src/bin/bare.rs), the recorder.
//!
//! The loop's own CPU time counts, so other programs on the machine disturb little; eBPF programs run in it. A thread on another
//! CPU empties the ring by polling, the same for both programs. The last line is JSON: see [`Outcome`].

mod bare;
mod looping;
mod state;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::Serialize;

use looping::{Call, Loop};
use state::{Cost, State};

#[derive(Debug, Parser)]
struct Args {
    /// The object with the bare program.
    #[arg(long)]
    bare: PathBuf,
    /// Rounds through the three states.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Become the loop. For the benchmark itself.
    #[arg(long, hide = true)]
    looping: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One call's costs, in nanoseconds of CPU time.
#[derive(Debug, Serialize)]
struct Row {
    call: &'static str,
    /// Bytes of its record, as the ring takes it; 0 if it makes none.
    record_bytes: u64,
    /// The call by itself.
    none_ns: f64,
    bare_ns: f64,
    recorder_ns: f64,
    /// Medians over the rounds of the differences to `none_ns`.
    ns_per_event: f64,
    ns_per_event_bare: f64,
    /// Interquartile range of the rounds' ratios of the two, and their median.
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
}

/// The last line: the rows, and the mean over the calls.
#[derive(Debug, Serialize)]
struct Outcome {
    ns_per_event: f64,
    ns_per_event_bare: f64,
    rounds: usize,
    calls_per_round: u64,
    lost: u64,
    calls: Vec<Row>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.looping {
        looping::serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.rounds == 0 {
        bail!("--rounds 0 would measure nothing");
    }
    let object = std::fs::read(&args.bare).with_context(|| format!("reading {}", args.bare.display()))?;
    let mut lost = 0;
    let mut rows = Vec::new();
    for call in Call::ALL {
        rows.push(measure(call, &object, args.rounds, &mut lost)?);
    }
    let mean = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let outcome = Outcome {
        ns_per_event: mean(|row| row.ns_per_event),
        ns_per_event_bare: mean(|row| row.ns_per_event_bare),
        rounds: args.rounds,
        calls_per_round: looping::CALLS * state::REPEATS as u64,
        lost,
        calls: rows,
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(ExitCode::SUCCESS)
}

fn measure(call: Call, object: &[u8], rounds: usize, lost: &mut u64) -> Result<Row> {
    let mut guest = Loop::start()?;
    // How large its record is, and a first run of everything that is slower the first time.
    let record_bytes = state::run(State::Recorder, &mut guest, call, object)?.record_bytes;
    let states = [State::None, State::Bare { record_bytes }, State::Recorder];
    let mut costs: Vec<[f64; 3]> = Vec::new();
    for round in 0..rounds {
        let mut cost = [0.0; 3];
        let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for index in order {
            let Cost { ns, lost: missing, .. } = state::run(states[index], &mut guest, call, object)?;
            cost[index] = ns;
            *lost += missing;
        }
        costs.push(cost);
    }
    let over = |of: fn(&[f64; 3]) -> f64| sorted(costs.iter().map(of).collect());
    let ratios = over(|[none, bare, recorder]| (recorder - none) / (bare - none).max(1.0));
    Ok(Row {
        call: call.name(),
        record_bytes,
        none_ns: quantile(&over(|cost| cost[0]), 0.5),
        bare_ns: quantile(&over(|cost| cost[1]), 0.5),
        recorder_ns: quantile(&over(|cost| cost[2]), 0.5),
        ns_per_event: quantile(&over(|[none, _, recorder]| recorder - none), 0.5),
        ns_per_event_bare: quantile(&over(|[none, bare, _]| bare - none), 0.5),
        ratio: quantile(&ratios, 0.5),
        ratio_low: quantile(&ratios, 0.25),
        ratio_high: quantile(&ratios, 0.75),
    })
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which `part` of the sorted ones lie, interpolated.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}
