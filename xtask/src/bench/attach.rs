//! `cargo xtask bench attach`: a container of plain runc serves; `migrate rates` comes and goes. Throughput before, while and after,
//! and whether anything is left.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Common,
    containers::{Container, Cpus, Stage},
    load,
    pairs::{Mode, Spread},
    traces::{self, Watch},
    workloads::{WORKLOADS, Workload},
};
/// `migrate rates` gives its first sample, and ends, within this time.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct AttachArgs {
    #[command(flatten)]
    common: Common,
}

/// Throughputs of one round.
struct Round {
    before: f64,
    during: f64,
    after: f64,
    /// The last sample that was printed.
    sample: Value,
    changed: Vec<String>,
    stood: u64,
}

pub fn run(root: &Path, args: &AttachArgs) -> Result<ExitCode> {
    let common = &args.common;
    let migrate = common.prepare(root)?;
    let workload = &WORKLOADS[0];
    let rounds = common
        .on_stage(root, &[workload.image], (workload.rate, Cpus::All), migrate, |stage| measure(stage, workload, common))?;
    let ratio = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of));
    let (during, after) = (ratio(|round| round.during / round.before), ratio(|round| round.after / round.before));
    let mut changed: Vec<&String> = rounds.iter().flat_map(|round| &round.changed).collect();
    changed.sort();
    changed.dedup();
    let stood: u64 = rounds.iter().map(|round| round.stood).sum();
    let clean = changed.is_empty() && stood == 0;
    common.say(&format!("while attached / before {during}; after / before {after}"));
    common.say(&format!("tasks seen stopped, traced or frozen: {stood}; settings changed: {changed:?}"));
    println!(
        "{}",
        json!({
            "workload": workload.name,
            "rounds": rounds.len(),
            "before_per_s": ratio(|round| round.before).median,
            "during": during,
            "after": after,
            "stopped_tasks": stood,
            "changed_settings": changed,
            "no_trace": clean,
            "last_sample": rounds.last().map(|round| &round.sample),
        })
    );
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(stage: &mut Stage, workload: &Workload, common: &Common) -> Result<Vec<Round>> {
    let container = stage.start(workload, Mode::Plain, 0)?;
    load::warm_up(stage, workload)?;
    (1..=common.pairs)
        .map(|index| {
            let round = round(stage, workload, &container, common.seconds)?;
            let Round { before, during, after, .. } = round;
            common.say(&format!("round {index}: {before:.0}, {during:.0} while attached, {after:.0} {}/s", workload.load.unit()));
            Ok(round)
        })
        .collect()
}

fn round(stage: &Stage, workload: &Workload, container: &Container, seconds: u32) -> Result<Round> {
    let throughput = || Ok::<_, anyhow::Error>(load::measure(stage, workload, seconds, None)?.per_s());
    let settings = traces::settings(container);
    let before = throughput()?;
    let watch = Watch::start(container)?;
    let rates = Rates::attach(stage, container)?;
    let during = throughput();
    let sample = rates.detach()?;
    let stood = watch.end()?;
    let after = throughput()?;
    let changed = traces::changes(&settings, &traces::settings(container));
    Ok(Round { before, during: during?, after, sample, changed, stood })
}

/// A running `migrate rates`, which has printed a sample.
struct Rates {
    child: Child,
    reader: thread::JoinHandle<String>,
}

impl Rates {
    fn attach(stage: &Stage, container: &Container) -> Result<Self> {
        let mut command = stage.host()?.migrate()?;
        command.args(["rates", "--json", "--interval", "1s", "--cgroup"]).arg(&container.cgroup);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting migrate rates")?;
        let output = BufReader::new(child.stdout.take().context("migrate rates has no output")?);
        let (first, came) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            let mut last = String::new();
            for line in output.lines().map_while(Result::ok) {
                last = line;
                // Nobody listens after the first.
                let _ = first.send(());
            }
            last
        });
        if came.recv_timeout(PATIENCE).is_err() {
            child.kill().and_then(|()| child.wait()).context("ending migrate rates")?;
            bail!("migrate rates gave no sample within {} s", PATIENCE.as_secs());
        }
        Ok(Self { child, reader })
    }

    /// Asks it to end, as a person at a terminal does. Its last sample.
    fn detach(mut self) -> Result<Value> {
        let pid = i32::try_from(self.child.id())?;
        // SAFETY: kill takes two integers; the child has not been waited for, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGINT) };
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                self.child.kill().and_then(|()| self.child.wait()).context("ending migrate rates")?;
                bail!("migrate rates does not end on SIGINT");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self.reader.join().ok().and_then(|last| serde_json::from_str(&last).ok()).unwrap_or(Value::Null))
    }
}
