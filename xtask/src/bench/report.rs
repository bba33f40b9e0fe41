//! What the benchmark says.

use std::fmt;

use serde::Serialize;

use super::{
    account::Account,
    pairs::{Pair, Spread},
    peers::Peers,
    profile::Profile,
    workloads::Workload,
};

/// A workload's pairs, and what they come to.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub name: &'static str,
    /// Throughput recorded / not recorded: the median of the pairs' ratios, and their quartiles.
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    pub pairs: usize,
    /// What throughput and bytes are counted by.
    pub unit: &'static str,
}

impl Verdict {
    pub fn of(workload: &Workload, runs: &[Pair]) -> Self {
        let ratio = Spread::of(runs.iter().map(Pair::ratio));
        Self {
            name: workload.name,
            ratio: ratio.median,
            low: ratio.low,
            high: ratio.high,
            goal: workload.goal,
            met: workload.goal.map(|goal| ratio.median >= goal),
            pairs: runs.len(),
            unit: workload.load.unit(),
        }
    }

    /// The line that says so; `what` is divided by what.
    pub fn line(&self, what: &str) -> String {
        let Self { name, ratio: median, low, high, .. } = *self;
        let met = |(goal, met): (f64, bool)| format!(", goal {goal}: {}", if met { "met" } else { "MISSED" });
        let goal = self.goal.zip(self.met).map(met).unwrap_or_default();
        format!("{name:<14} {what} {}{goal}", Spread { median, low, high })
    }
}

/// One workload's result.
#[derive(Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub verdict: Verdict,
    pub recorded_per_s: f64,
    pub plain_per_s: f64,
    #[serde(flatten)]
    pub account: Account,
    #[serde(flatten)]
    pub peers: Peers,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// All pairs, in the order in which they were run.
    pub runs: Vec<Pair>,
}

impl Row {
    pub fn new(workload: &Workload, runs: Vec<Pair>, account: Account) -> Self {
        Self {
            verdict: Verdict::of(workload, &runs),
            recorded_per_s: Spread::of(runs.iter().map(|pair| pair.recorded)).median,
            plain_per_s: Spread::of(runs.iter().map(|pair| pair.plain)).median,
            account,
            peers: Peers::default(),
            profile: None,
            runs,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict.line("recorded / not recorded"))?;
        let Account { records_per_unit, bytes_per_unit: bytes, mb_per_s, agent_cpu_share, lost, .. } = &self.account;
        let encoded = |bytes: Option<f64>| bytes.map_or_else(|| "?".to_owned(), |bytes| format!("{bytes:.1}"));
        write!(
            f,
            "\n{:<14} {:.0} and {:.0} {unit}/s; {records_per_unit:.2} records, {:.1} bytes raw, {} encoded, {:.1} zstd a {one}; \
             {:.2} MB/s raw, {} encoded, {:.2} zstd; the agent took {:.0} % of a CPU; {lost} lost",
            "",
            self.recorded_per_s,
            self.plain_per_s,
            bytes.raw,
            encoded(bytes.encoded),
            bytes.zstd,
            mb_per_s.raw,
            encoded(mb_per_s.encoded),
            mb_per_s.zstd,
            agent_cpu_share * 100.0,
            unit = self.verdict.unit,
            one = self.verdict.unit.trim_end_matches('s'),
        )?;
        for (peer, bytes) in [("strace", self.peers.strace_bytes_per_unit), ("a pcap", self.peers.pcap_bytes_per_unit)] {
            if let Some(bytes) = bytes {
                write!(f, "\n{:<14} {peer} took {bytes:.0} bytes a {}", "", self.verdict.unit.trim_end_matches('s'))?;
            }
        }
        self.profile.iter().try_for_each(|profile| write!(f, "\n{profile}"))
    }
}
