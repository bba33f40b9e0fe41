//! The container that is measured: on the lab's first host, recorded or not, and made anew for each run.

use std::{ffi::OsStr, path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Context, Result, bail};
use migrate_tests::{
    images::Store,
    lab::{self, Host, Lab},
};
use serde_json::Value;

use super::{
    cpu::{self, Ticks},
    pairs::Mode,
    workloads::Workload,
};

/// The host whose Docker and agent are used.
const HOST: &str = "h1";
const NAME: &str = "bench";
/// Outside the ranges from which Docker takes addresses by itself.
pub const ADDRESS: &str = "10.77.0.50";
/// Seconds of work, as the shell of a batch workload sees it.
const AMOUNT: &str = "AMOUNT";
/// A log that has ended is measured all the same: on all CPUs a container with shared memory cannot be moved.
const KEEP_RECORDING: (&str, &str) = ("MIGRATE_KEEP_RECORDING", "true");
/// A record is in the agent's totals after this time: the agent closes a chunk when it is a second old.
pub const SETTLE: Duration = Duration::from_millis(1400);

/// What a container runs on, recorded or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpus {
    /// All that the machine has; its tasks do not take turns.
    All,
    /// The last one, which its load generators leave to it; recorded, its tasks take turns there.
    Last,
}

/// Where containers are started.
#[derive(Debug)]
pub struct Stage {
    pub lab: Lab,
    store: Store,
    /// Of the container alone, and as `taskset` writes them those of its load; none: all CPUs for everybody.
    alone: Option<(String, String)>,
    /// The program that the lab's own load generators are in.
    lab_client: PathBuf,
}

/// A running container. Removed by [`Stage::clear`].
#[derive(Debug)]
pub struct Container {
    /// Its first process.
    pub pid: i32,
    /// Its control group, in the version 2 tree.
    pub cgroup: PathBuf,
}

/// What the agent says of the recording.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log {
    pub records: u64,
    pub raw_bytes: u64,
    /// Where the agent tells it.
    pub encoded_bytes: Option<u64>,
    pub stored_bytes: u64,
}

impl Stage {
    pub fn new(lab: Lab, store: Store, cpus: Cpus, lab_client: PathBuf) -> Result<Self> {
        let alone = match cpus {
            Cpus::All => None,
            Cpus::Last => {
                let last = thread::available_parallelism()?.get() - 1;
                let before = last.checked_sub(1).context("a container alone on a CPU needs a machine with two")?;
                Some((last.to_string(), format!("0-{before}")))
            }
        };
        let mut stage = Self { lab, store, alone, lab_client };
        stage.lab.with_host("h2", Host::stop_agent)?;
        stage.clear()?;
        Ok(stage)
    }

    pub fn host(&self) -> Result<Host> {
        Ok(self.lab.host(HOST)?)
    }

    /// A load generator, in the client's network namespace.
    pub fn client(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let Some((_, others)) = &self.alone else { return Ok(self.lab.client(program)?) };
        let mut command = self.lab.client("taskset")?;
        command.args(["--cpu-list", others]).arg(program);
        Ok(command)
    }

    /// A load generator of the lab's own, which never sleeps: whoever else wants its CPU, the agent above all, comes first.
    pub fn lab_client(&self) -> Result<Command> {
        let mut command = self.client("nice")?;
        command.args(["-n", "19"]).arg(&self.lab_client);
        Ok(command)
    }

    /// Runs a load. The share of the time in which the CPU that the container has alone was not idle; none on all CPUs.
    pub fn busy_during<T>(&self, load: impl FnOnce() -> Result<T>) -> Result<(T, Option<f64>)> {
        let Some((last, _)) = &self.alone else { return Ok((load()?, None)) };
        let before = Ticks::of_cpu(last)?;
        let done = load()?;
        Ok((done, Some(Ticks::of_cpu(last)?.busy_since(before))))
    }

    /// Removes the container and ends the agent: its programs see every system call of the machine, whoever makes it.
    pub fn clear(&mut self) -> Result<()> {
        let host = self.host()?;
        if !host.docker_output(["ps", "--all", "--quiet", "--filter", &format!("name=^{NAME}$")])?.is_empty() {
            host.docker_output(["rm", "--force", "--volumes", NAME])?;
        }
        Ok(self.lab.with_host(HOST, Host::stop_agent)?)
    }

    /// Starts the workload's container, in place of the one before.
    pub fn start(&mut self, workload: &Workload, mode: Mode, amount: u32) -> Result<Container> {
        self.clear()?;
        self.lab.set_rate(workload.rate)?;
        let host = self.host()?;
        self.store.load(&host, workload.image)?;
        let runtime = match mode {
            Mode::Recorded => {
                let turns = match &self.alone {
                    None => vec![("MIGRATE_SERIALISE", "never")],
                    Some((last, _)) => vec![("MIGRATE_SERIALISE", "always"), ("MIGRATE_SERIAL_CPUS", last.as_str())],
                };
                let environment = [vec![KEEP_RECORDING], turns].concat();
                self.lab.with_host(HOST, |host| host.start_agent(&environment))?;
                "--runtime=migrate"
            }
            Mode::Plain => "--runtime=runc",
        };
        let (network, amount) = (format!("--network={}", lab::NETWORK), format!("--env={AMOUNT}={amount}"));
        let pinned = match (&self.alone, mode) {
            (Some((last, _)), Mode::Plain) => Some(format!("--cpuset-cpus={last}")),
            _ => None,
        };
        let run = ["run", "--detach", runtime, &network, "--ip", ADDRESS, &amount, "--name", NAME];
        let program = [workload.image.tag()].into_iter().chain(workload.command.iter().copied());
        let id = host.docker_output(run.into_iter().chain(pinned.as_deref()).chain(program))?;
        // The container of the run before had the same address.
        lab::run_output(self.lab.client("ip")?.args(["neigh", "flush", "all"]))?;
        let pid = host.docker_output(["inspect", "--format", "{{.State.Pid}}", &id])?;
        let pid = pid.parse().ok().filter(|pid| *pid > 0);
        let pid = pid.with_context(|| format!("the container of {} ended at once: {}", workload.name, self.said()))?;
        Ok(Container { pid, cgroup: cpu::cgroup(pid)? })
    }

    /// Whether a recorded container's tasks take turns where they should, and only there.
    pub fn check_turns(&self, container: &Container) -> Result<()> {
        let (turns, wanted) = (cpu::takes_turns(container.pid)?, self.alone.is_some());
        anyhow::ensure!(turns == wanted, "process {} {} turns", container.pid, if turns { "takes" } else { "does not take" });
        Ok(())
    }

    /// What the container printed last.
    pub fn said(&self) -> String {
        let text = self.host().ok().and_then(|host| {
            let ended = lab::run_to_end(host.docker().args(["logs", "--tail=5", NAME]), Duration::from_secs(10)).ok()?;
            Some([ended.stdout, ended.stderr].concat())
        });
        String::from_utf8_lossy(&text.unwrap_or_default()).trim().to_owned()
    }

    /// The command that follows the container's output, each line with its time.
    pub fn follow(&self) -> Result<Command> {
        let mut command = self.host()?.docker();
        command.args(["logs", "--follow", "--timestamps", NAME]);
        Ok(command)
    }

    /// The recording as it stands. Fails when the container is not recorded: there is nothing to measure then.
    pub fn log(&self) -> Result<Log> {
        let mut command = self.host()?.migrate()?;
        let list: Vec<Value> = serde_json::from_str(&lab::run_output(command.args(["ps", "--json"]))?)?;
        let entry = list.iter().find(|entry| entry["name"].as_str().is_some_and(|name| name.trim_start_matches('/') == NAME));
        let Some(entry) = entry else { bail!("the agent does not know the container") };
        let number = |field: &str| entry[field].as_u64();
        let records = number("records").unwrap_or(0);
        let (raw_bytes, stored_bytes) = (number("log_bytes").unwrap_or(0), number("spool_bytes").unwrap_or(0));
        if let Some(why) = entry["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).find(|why| ends_log(why)) {
            bail!("the recording has ended: {why}");
        }
        Ok(Log { records, raw_bytes, encoded_bytes: number("encoded_bytes"), stored_bytes })
    }

    /// Records that the agent knows to be lost.
    pub fn lost(&self) -> Result<u64> {
        let mut command = self.host()?.migrate()?;
        let status: Value = serde_json::from_str(&lab::run_output(command.args(["status", "--json"]))?)?;
        Ok(status["lost_records"].as_u64().unwrap_or(0))
    }

    /// The agent's process.
    pub fn agent(&self) -> Result<i32> {
        Ok(self.host()?.state.agent.context("the agent does not run")?.pid)
    }
}

/// Reasons with which an agent that keeps recording nevertheless stops.
fn ends_log(why: &str) -> bool {
    why.starts_with("its log")
}
