//! `migrate rates`.

mod live;
mod output;
mod plain;
mod stop;

use super::{CliError, Global};
use crate::agent::api::Code;
use crate::rates::predict::{self, Assumptions};
use crate::rates::sample::{Lost, Mode};
use crate::rates::targets::{self, Sources, Wanted};
use crate::rates::{RatesError, Sample, Session, Settings};
use clap::Args;
use migrate_common::syscalls::{Group, GroupSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stop::{Stop, Waited};

const EXAMPLES: &str = "\
Examples:
  migrate rates web                                   # a Docker or podman container, by name or id
  migrate rates --all --interval 5s --for 1m          # every container that runs
  migrate rates --cgroup system.slice/nginx.service --json | jq .total
  migrate rates web --count-only --group read,receive # numbers of calls alone: the cheapest
  migrate rates web --for 10m --csv w.csv --plot w.svg # numbers to keep, and a picture
  migrate rates web --dirty --link 1gbit              # would shipping the log beat copying pages?

Nothing is restarted and no agent is needed. When the command ends, however it ends, the kernel takes its eBPF programs away
and nothing is left. It exits with 1 if a record was lost: the numbers are then too low.";

/// Measure what logging a running container would cost, and how much log it would make.
///
/// Every event that a migration would log is captured, encoded and compressed as a migration does, and dropped. Shown per
/// group and system call: events, bytes that came in from the kernel, and bytes of log at each step; and what the measurement
/// itself takes. Works on containers of any runtime, and on any cgroup v2 directory, with all cgroups below it.
///
/// On a terminal the result is a live view; else a table each interval, or with --json a line each interval and container.
///
/// Not seen from outside: clock reads through the vDSO, unless the container was started with `--runtime migrate`, where they
/// are system calls and part of the log.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rates {
    /// Names, ids, or unique starts of ids.
    #[arg(required_unless_present_any = ["cgroup", "all"])]
    container: Vec<String>,
    /// A cgroup v2 directory: absolute, or relative to where the tree is mounted.
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<PathBuf>,
    /// Every container that runs.
    #[arg(long, conflicts_with_all = ["container", "cgroup"])]
    all: bool,
    /// Time between samples: 500ms, 1s, 1m.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = interval)]
    interval: Duration,
    /// End after this many intervals.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: 30s, 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = time, conflicts_with = "count")]
    duration: Option<Duration>,
    /// Count in the kernel and capture nothing: no log bytes, no ring, nothing to lose.
    #[arg(long)]
    count_only: bool,
    /// Only these groups: read, receive, time, random, signal, poll, file, process, other.
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_parser = group)]
    group: Vec<Group>,
    /// Also tell how many pages are written: what a migration that copies memory would have to send again. Pages are read and
    /// compared; nothing is stopped or changed.
    #[arg(long)]
    dirty: bool,
    /// Predict rounds, down time and total time of migrating over a link of this speed: 1gbit, 100mbit.
    #[arg(long, value_name = "SPEED", value_parser = predict::parse_link, conflicts_with = "count_only")]
    link: Option<u64>,
    /// Events a second that a replica is assumed to take.
    #[arg(long, value_name = "N", requires = "link", default_value_t = predict::DEFAULT_REPLAY_EVENTS_PER_SECOND,
          value_parser = clap::value_parser!(u64).range(1..))]
    replay_rate: u64,
    /// How much log there is assumed to be when the move begins, as time that the container ran.
    #[arg(long, value_name = "TIME", requires = "link", default_value = "1m", value_parser = time)]
    backlog: Duration,
    /// Bytes of the ring between the eBPF programs and this command: a power of two, with K, M or G.
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = ring)]
    ring: u32,
    /// Also write a row an interval, container, group and call to this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also draw the rates over time into this SVG file, on the way and at the end.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Docker's socket.
    #[arg(long, env = "MIGRATE_DOCKER", default_value = crate::container::docker::DEFAULT_SOCKET, value_name = "PATH")]
    docker: PathBuf,
}

impl Rates {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        // Before any thread begins: all of them leave the signals to the one that waits.
        let stop = Stop::block_signals()?;
        let found = targets::resolve(&self.wanted(), &Sources::with_docker(&self.docker)).map_err(failed)?;
        let session = Session::attach(found, self.settings()).map_err(failed)?;
        let mut output = output::Output::new(global.json, self.csv.as_deref(), self.plot.as_deref(), &stop)?;
        let measured = self.measure(session, &stop, &mut output);
        // The files hold what there was, and the terminal is given back, before an error is told.
        let finished = output.finish();
        let lost = measured?;
        finished?;
        if lost.none() {
            return Ok(ExitCode::SUCCESS);
        }
        let message = format!("the numbers are too low: lost {}", plain::losses(&lost));
        Err(CliError::other(Code::Failed, message))
    }

    /// Samples until it is enough; what was lost in all.
    fn measure(&self, mut session: Session, stop: &Stop, output: &mut output::Output) -> Result<Lost, CliError> {
        let started = Instant::now();
        let end = self.duration.map(|duration| started + duration);
        let mut lost = Lost::default();
        let mut due = started;
        for n in 1_u64.. {
            // A sample that came late does not make the next interval so short that its rates mean nothing.
            let earliest = Instant::now() + self.interval / 2;
            due += self.interval;
            while due < earliest {
                due += self.interval;
            }
            let waited = stop.wait_until(end.map_or(due, |end| due.min(end)))?;
            let alive = session.is_alive();
            let mut samples = session.sample().map_err(failed)?;
            samples.iter_mut().for_each(|sample| self.predict(sample));
            if let Some(missed_runs) = samples.first().map(|sample| sample.lost.missed_runs) {
                // Of all containers together.
                samples.iter().for_each(|sample| lost += Lost { missed_runs: 0, ..sample.lost });
                lost.missed_runs += missed_runs;
            }
            output.samples(&samples)?;
            let enough = self.count.is_some_and(|count| n >= count) || end.is_some_and(|end| Instant::now() >= end);
            if enough || waited == Waited::Told || !alive {
                break;
            }
        }
        Ok(lost)
    }

    fn predict(&self, sample: &mut Sample) {
        let Some(link) = self.link else { return };
        let assumed =
            Assumptions { replay_events_per_second: self.replay_rate, backlog: self.backlog, ..Assumptions::of_link(link) };
        sample.prediction = predict::predict(sample, &assumed);
    }

    fn wanted(&self) -> Vec<Wanted> {
        if self.all {
            return vec![Wanted::All];
        }
        let containers = self.container.iter().cloned().map(Wanted::Container);
        containers.chain(self.cgroup.iter().cloned().map(Wanted::Cgroup)).collect()
    }

    fn settings(&self) -> Settings {
        Settings {
            mode: if self.count_only { Mode::Count } else { Mode::Capture },
            groups: if self.group.is_empty() { GroupSet::ALL } else { self.group.iter().copied().collect() },
            ring_bytes: self.ring,
            dirty: self.dirty,
        }
    }
}

fn failed(error: RatesError) -> CliError {
    let usage = matches!(
        error,
        RatesError::NotFound { .. } | RatesError::Ambiguous { .. } | RatesError::NoCgroup { .. } | RatesError::Nested { .. }
    );
    let code = if usage { Code::Usage } else { Code::Failed };
    let message = match &error {
        RatesError::Probe(_) if !nix::unistd::geteuid().is_root() => "cannot load eBPF programs without root; use sudo",
        _ => "cannot measure",
    };
    CliError::caused(code, message, error)
}

fn group(name: &str) -> Result<Group, String> {
    let names = || Group::ALL.map(Group::name).join(", ");
    Group::ALL.into_iter().find(|group| group.name() == name).ok_or_else(|| format!("the groups are {}", names()))
}

/// `500ms`, `2s`, `1.5m`, `1h`; without a unit, seconds.
fn time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("units are ms, s, m and h".into()),
    };
    let number: f64 = number.parse().map_err(|_| "a number and a unit are wanted, as 500ms, 2s or 5m".to_owned())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    if time.is_zero() { Err("it must be longer than nothing".into()) } else { Ok(time) }
}

/// Each sample waits for the kernel's RCU, some tens of milliseconds: more often makes no sense.
fn interval(text: &str) -> Result<Duration, String> {
    time(text).and_then(|time| if time < Duration::from_millis(100) { Err("it must be at least 100ms".into()) } else { Ok(time) })
}

fn ring(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, ""),
    };
    let factor: u64 = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => 1,
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    let bytes = bytes.and_then(|bytes| u32::try_from(bytes).ok()).filter(|bytes| bytes.is_power_of_two() && *bytes >= 4096);
    bytes.ok_or_else(|| "a power of two from 4096 to 2G is wanted".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        assert_eq!([time("500ms"), time("2"), time("1.5m")].map(Result::unwrap), [500, 2000, 90_000].map(Duration::from_millis));
        for wrong in ["", "0s", "1day", "-1s", "fast", "1e400s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert!(interval("50ms").is_err() && interval("100ms").is_ok());
        assert_eq!([ring("64M"), ring("4096"), ring("64K")].map(Result::unwrap), [64 << 20, 4096, 64 << 10]);
        assert!(["1000", "5M", "8G", "2K", "x"].iter().all(|wrong| ring(wrong).is_err()));
        assert_eq!(group("receive"), Ok(Group::Receive));
        assert!(group("clock").unwrap_err().contains("time"));
    }
}
