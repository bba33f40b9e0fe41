//! One interval of one container, as every output shows it: a line of `--json` is a [`Sample`], the live view, the CSV file
//! and the plot are made of them.
//!
//! Numbers are counts of the interval, not rates: a rate is a count over [`Sample::interval_ns`] ([`Sample::per_second`]), and
//! counts of several samples add up.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// One interval of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub container: Target,
    /// When the interval ended: milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From the attach to the end of the interval.
    pub elapsed_ns: u64,
    /// How long the interval really was: every count below is of this time.
    pub interval_ns: u64,
    pub mode: Mode,
    /// Sum of the groups.
    pub total: Amounts,
    /// The groups that are measured, in the order of the table's groups; those without an event have zeros.
    pub groups: Vec<GroupSample>,
    pub lost: Lost,
    /// Of the measurement, not of the container alone: all containers that are measured together share it.
    pub recorder: RecorderCost,
    /// With `--dirty`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dirty: Option<Dirty>,
    /// With `--link`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prediction: Option<Prediction>,
    /// What this measurement cannot see of this container. Empty: nothing known.
    pub blind_spots: Vec<String>,
}

/// What is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The name given to it, else what was asked for.
    pub name: String,
    /// The runtime's id of it; empty for a cgroup that was given by its path.
    pub id: String,
    /// Its cgroup's path in the version 2 tree, as `/docker/4f…`.
    pub cgroup: String,
}

/// How the numbers were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every event was captured, encoded and compressed as a migration does, then dropped.
    #[default]
    Capture,
    /// Events were counted in the kernel; there is no [`Amounts::log`].
    Count,
}

/// Events of a group, and of its calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupSample {
    /// `read`, `receive`, `time`, `random`, `signal`, `poll`, `file`, `process` or `other`.
    pub group: String,
    #[serde(flatten)]
    pub amounts: Amounts,
    /// Its calls with an event in the interval, those with the most events first.
    pub calls: Vec<CallSample>,
}

/// Events of one system call, or of one kind of record that is no call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallSample {
    /// The call's name in the kernel; `signal`, `fork`, `exec`, `exit` for records that are no calls.
    pub call: String,
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// How much there was of something in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Records that a migration would log.
    pub events: u64,
    /// Bytes that the kernel wrote to the container's memory and that a log must hold.
    pub input_bytes: u64,
    /// None where events are only counted.
    #[serde(flatten)]
    pub log: Option<LogBytes>,
}

/// Bytes of log at each step on its way to the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBytes {
    /// As the eBPF programs emit them: headers, segments, padding.
    pub raw_bytes: u64,
    /// In the compact form, before compression.
    pub encoded_bytes: u64,
    /// After zstd. A chunk is compressed as a whole: its bytes are apportioned by encoded bytes.
    pub zstd_bytes: u64,
}

/// Events that the measurement does not contain. Anything but zeros means that its numbers are too low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Records or pieces that the ring had no room for.
    pub ring_full: u64,
    /// Records over the recorder's bounds.
    pub too_large: u64,
    /// Records whose payload could not be read from the task's memory.
    pub faults: u64,
    /// Program runs that the kernel skipped, of any container.
    pub missed_runs: u64,
    /// Records that were numbered and never came although nothing above says why: `seen - emitted - too_large - ring_full`.
    pub unexplained: u64,
}

/// What the measurement costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecorderCost {
    /// Each eBPF program, by the kernel's BPF statistics; empty where the kernel does not keep them.
    pub programs: Vec<ProgramCost>,
    pub ring: Ring,
    /// CPU time of the measuring process in the interval, user and system, all threads.
    pub agent_cpu_ns: u64,
    /// CPUs of the host.
    pub cpus: u32,
}

/// One eBPF program in the interval. It runs for every task of the host; for tasks of other cgroups it ends at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCost {
    pub program: String,
    pub runs: u64,
    pub run_time_ns: u64,
}

/// The ring between the programs and the measuring process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// Its size; 0 where nothing is captured.
    pub bytes: u64,
    /// The most that waited in it since the attach.
    pub high_water_bytes: u64,
}

/// Pages that the container's processes wrote to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dirty {
    pub method: DirtyMethod,
    /// Pages written at least once in the interval: measured, or estimated from a sample of pages.
    pub pages: u64,
    /// The same in bytes: what a page-copying migration sends again.
    pub bytes: u64,
    /// Pages that could have been written: resident, writable, private or anonymous.
    pub watched_pages: u64,
    /// The part of them that was looked at: 1 unless the pages are sampled.
    pub looked_at: f64,
}

/// How dirty pages are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirtyMethod {
    /// Contents were compared: every page that differs from what it was.
    #[default]
    Contents,
}

/// What migrating the container over a link would take, from the rates of the interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub link_bits_per_second: u64,
    /// Records that a replica takes per second: an assumption.
    pub replay_events_per_second: u64,
    /// Shipping the log and replaying it.
    pub log: Way,
    /// Copying pages; needs `--dirty`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pages: Option<Way>,
    /// The same for people, in one sentence.
    pub sentence: String,
}

/// How one way of migrating would go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// What it must ship a second.
    pub bytes_per_second: f64,
    /// Whether each round is shorter than the one before.
    pub converges: bool,
    /// Rounds with the last one, in which the container stands still.
    pub rounds: u32,
    pub down_ns: u64,
    pub total_ns: u64,
    pub shipped_bytes: u64,
}

impl Sample {
    /// A count of the interval, per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.interval_ns == 0 { 0.0 } else { count as f64 * 1e9 / self.interval_ns as f64 }
    }

    /// CPUs that the measuring process kept busy: 0.5 is half of one.
    #[must_use]
    pub fn agent_cpu_share(&self) -> f64 {
        self.per_second(self.recorder.agent_cpu_ns) / 1e9
    }
}

impl Lost {
    /// All of it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.ring_full + self.too_large + self.faults + self.missed_runs + self.unexplained
    }

    /// Whether the numbers are whole.
    #[must_use]
    pub const fn none(&self) -> bool {
        self.total() == 0
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.input_bytes += other.input_bytes;
        self.log = match (self.log, other.log) {
            (Some(a), Some(b)) => Some(LogBytes {
                raw_bytes: a.raw_bytes + b.raw_bytes,
                encoded_bytes: a.encoded_bytes + b.encoded_bytes,
                zstd_bytes: a.zstd_bytes + b.zstd_bytes,
            }),
            (one, other) => one.or(other),
        };
    }
}

impl AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.ring_full += other.ring_full;
        self.too_large += other.too_large;
        self.faults += other.faults;
        self.missed_runs += other.missed_runs;
        self.unexplained += other.unexplained;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(events: u64, log: Option<LogBytes>) -> Amounts {
        Amounts { events, input_bytes: events * 10, log }
    }

    #[test]
    fn a_sample_is_one_flat_json_object_and_reads_back() {
        let log = LogBytes { raw_bytes: 120, encoded_bytes: 20, zstd_bytes: 7 };
        let calls = vec![CallSample { call: "read".into(), amounts: amounts(3, Some(log)) }];
        let sample = Sample {
            interval_ns: 500_000_000,
            groups: vec![
                GroupSample { group: "read".into(), amounts: amounts(3, Some(log)), calls },
                GroupSample { group: "time".into(), amounts: amounts(1, None), calls: Vec::new() },
            ],
            ..Sample::default()
        };
        let json = serde_json::to_value(&sample).unwrap();
        assert_eq!((&json["groups"][0]["events"], &json["groups"][0]["zstd_bytes"]), (&3.into(), &7.into()));
        assert_eq!(json["groups"][0]["calls"][0]["call"], "read");
        assert_eq!((json["groups"][1].get("zstd_bytes"), json.get("dirty")), (None, None));
        assert_eq!(serde_json::from_value::<Sample>(json).unwrap(), sample);
        assert_eq!((sample.per_second(3), Sample::default().per_second(3)), (6.0, 0.0));
    }

    #[test]
    fn amounts_add_up_and_what_was_only_counted_has_no_log() {
        let log = LogBytes { raw_bytes: 3, encoded_bytes: 2, zstd_bytes: 1 };
        let mut sum = Amounts::default();
        sum += amounts(1, None);
        assert_eq!(sum, amounts(1, None));
        sum += amounts(2, Some(log));
        sum += amounts(2, Some(log));
        assert_eq!(sum, amounts(5, Some(LogBytes { raw_bytes: 6, encoded_bytes: 4, zstd_bytes: 2 })));
    }
}
