//! Paired runs and what they come to. A machine that others use is faster at one time than at another: the two runs of a pair
//! stand next to each other, their order alternates (ABBA), and the median over the pairs counts.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

/// How a container runs in one half of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By the runtime `migrate`, recorded by the host's agent.
    Recorded,
    /// By plain runc, with no agent on the machine.
    Plain,
}

/// Median and interquartile range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} ({:.4} to {:.4})", self.median, self.low, self.high)
    }
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { median: quantile(&sorted, 0.5), low: quantile(&sorted, 0.25), high: quantile(&sorted, 0.75) }
    }
}

/// The value below which `part` of the sorted ones lie, interpolated; not a number without any.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let at = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// One half of a pair.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Throughput, in units per second.
    pub per_s: f64,
    /// Of a container that is alone on a CPU: the share of the time in which that CPU was not idle.
    pub busy: Option<f64>,
}

/// Throughputs of one pair, in units per second, and how busy the containers' CPU was.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pair {
    pub recorded: f64,
    pub plain: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_busy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain_busy: Option<f64>,
}

impl Pair {
    fn new(recorded: Run, plain: Run) -> Self {
        Self { recorded: recorded.per_s, plain: plain.per_s, recorded_busy: recorded.busy, plain_busy: plain.busy }
    }

    pub fn ratio(&self) -> f64 {
        self.recorded / self.plain
    }

    /// The same for each second in which the containers' CPU was not idle.
    pub fn ratio_of_cpu(&self) -> Option<f64> {
        Some(self.ratio() * self.plain_busy? / self.recorded_busy?)
    }
}

/// Runs `count` pairs.
pub fn run(count: usize, mut run: impl FnMut(usize, Mode) -> Result<Run>) -> Result<Vec<Pair>> {
    (0..count)
        .map(|index| {
            if index % 2 == 0 {
                let recorded = run(index, Mode::Recorded)?;
                Ok(Pair::new(recorded, run(index, Mode::Plain)?))
            } else {
                let plain = run(index, Mode::Plain)?;
                Ok(Pair::new(run(index, Mode::Recorded)?, plain))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_quartiles() {
        let spread = Spread::of([5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(spread, Spread { median: 3.0, low: 2.0, high: 4.0 });
        assert_eq!(Spread::of([1.0, 2.0]).median, 1.5);
        assert_eq!(Spread::of([7.0]), Spread { median: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn a_cpu_that_was_idle_for_half_of_the_time_gives_twice_as_much() {
        let busy = |per_s, busy| Run { per_s, busy: Some(busy) };
        assert_eq!(Pair::new(busy(45.0, 0.5), busy(100.0, 1.0)).ratio_of_cpu(), Some(0.9));
        assert_eq!(Pair::new(Run { per_s: 45.0, busy: None }, busy(100.0, 1.0)).ratio_of_cpu(), None);
    }

    #[test]
    fn the_order_within_pairs_alternates() {
        let mut order = Vec::new();
        let pairs = run(2, |_, mode| {
            order.push(mode);
            Ok(Run { per_s: if mode == Mode::Plain { 2.0 } else { 1.0 }, busy: None })
        });
        assert_eq!(order, [Mode::Recorded, Mode::Plain, Mode::Plain, Mode::Recorded]);
        assert!(pairs.unwrap().iter().all(|pair| pair.ratio() == 0.5));
    }
}
