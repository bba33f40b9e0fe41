//! When chunks close, and when a migration stops iterating.
//!
//! While the target replays round *i*, the source makes round *i + 1*. If the source makes a second's records in a second
//! and the target needs `r` seconds to replay them (and the link `l` seconds to carry them), each round takes `max(r, l)`
//! of the one before: below 1 the rounds shrink, whatever the first one was, until what is left can be shipped and replayed
//! within the down-time target. At 1 and above they never do, and the migration is given up with the two rates that show why.
//!
//! ```text
//!            decide(history, lag)
//!               | predicted <= target .................... Final
//!               | max_rounds rounds ..................... force ? Final : GiveUp
//!               | over the last PATIENCE rounds:
//!               |   replay or ship time >= make time .... GiveUp (not with force)
//!               ` else .................................. Another
//! ```
//!
//! All times come in from the caller.

use std::fmt;
use std::time::Duration;

/// Records of this many bytes, unpacked, close a chunk of a container that is not being moved.
pub const CHUNK_BYTES: usize = 1 << 20;
/// Down time that a move aims at unless it is told otherwise.
pub const DEFAULT_DOWN_TIME_TARGET: Duration = Duration::from_millis(200);
/// Rounds after which a move stops iterating unless it is told otherwise. A source that makes its records in 1.25 times
/// the time that they take to replay comes from a minute of backlog to 75 ms in as many.
pub const DEFAULT_MAX_ROUNDS: u32 = 30;
/// Down time that does not depend on the log: freeze, sockets, address. An estimate, for lack of a measured one.
pub const DEFAULT_FIXED: Duration = Duration::from_millis(50);
/// The shortest round worth a decision: below, the cost of a round trip hides the rates.
pub const MIN_ROUND: Duration = Duration::from_millis(50);
/// How many rounds in a row must not converge before that is believed.
pub const PATIENCE: usize = 4;
/// How many rounds the rates are taken from: few, so that a source that calms down is seen.
const RECENT: usize = 3;

/// When the chunk that is being collected closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseRule {
    /// Bytes of records, unpacked.
    pub bytes: usize,
    /// Time since its first record.
    pub age: Duration,
}

impl CloseRule {
    /// While nobody waits for the chunk: large ones compress better.
    pub const RECORDING: Self = Self { bytes: CHUNK_BYTES, age: Duration::from_secs(1) };
    /// While the target waits for it: replay of a chunk begins when it is there, so that its age decides. A quarter of the
    /// bytes would make the log of a busy server 10 to 50 % larger.
    pub const MOVING: Self = Self { bytes: CHUNK_BYTES, age: Duration::from_millis(20) };

    /// Whether a chunk of so many bytes and of this age closes. An empty one never does.
    #[must_use]
    pub fn closes(&self, pending_bytes: usize, age: Duration) -> bool {
        pending_bytes > 0 && (pending_bytes >= self.bytes || age >= self.age)
    }
}

/// What one round was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundStats {
    pub records: u64,
    /// Bytes of the records, unpacked.
    pub raw_bytes: u64,
    /// Bytes that crossed the wire.
    pub stored_bytes: u64,
    /// How long the source took to make it. Of round 0: since the container's start.
    pub made: Duration,
    /// How long it took to send, without the time spent waiting for acknowledgements.
    pub ship: Duration,
    /// How long the target worked on it.
    pub replay: Duration,
}

/// What the source has made and the target has not replayed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records, shipped or not.
    pub records: u64,
    /// Bytes of those that are still to be shipped, unpacked.
    pub raw_bytes: u64,
}

/// What a move promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub down_time_target: Duration,
    pub max_rounds: u32,
    /// Cut over after `max_rounds` whatever the down time, rather than give up.
    pub force: bool,
    /// Down time that does not depend on the log.
    pub fixed: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { down_time_target: DEFAULT_DOWN_TIME_TARGET, max_rounds: DEFAULT_MAX_ROUNDS, force: false, fixed: DEFAULT_FIXED }
    }
}

/// What to do after a round was replayed.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Make another round.
    Another,
    /// Freeze the source now; the last round is predicted to take this long.
    Final { predicted: Option<Duration> },
    /// Leave the source alone.
    GiveUp(GiveUp),
}

/// Why a migration does not converge.
#[derive(Clone, Debug, PartialEq)]
pub struct GiveUp {
    pub rounds: u32,
    /// What the down time would have been.
    pub predicted: Option<Duration>,
    pub target: Duration,
    pub limit: Limit,
}

/// The rate that keeps a migration from converging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Records are made about as fast as they are replayed, or faster.
    Replay { made_per_s: f64, replayed_per_s: f64 },
    /// Bytes of log are made about as fast as the link carries them, or faster.
    Link { made_bytes_per_s: f64, link_bytes_per_s: f64 },
    /// The part of the down time that no round shortens.
    Fixed { fixed: Duration },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replay { made_per_s, replayed_per_s } => {
                write!(f, "the source makes {made_per_s:.0} records/s and the target replays {replayed_per_s:.0} records/s")
            }
            Self::Link { made_bytes_per_s, link_bytes_per_s } => {
                write!(
                    f,
                    "the source makes {made_bytes_per_s:.0} bytes/s of log and the link carries {link_bytes_per_s:.0} bytes/s"
                )
            }
            Self::Fixed { fixed } => write!(f, "the hand-over itself takes {} ms", fixed.as_millis()),
        }
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "does not converge after {} rounds: {}", self.rounds, self.limit)?;
        match self.predicted {
            Some(predicted) => {
                write!(f, "; the down time would be {} ms, the target is {} ms", predicted.as_millis(), self.target.as_millis())
            }
            None => Ok(()),
        }
    }
}

/// The parts of a predicted down time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prediction {
    ship: Duration,
    replay: Duration,
    fixed: Duration,
}

impl Prediction {
    fn total(self) -> Duration {
        self.ship.saturating_add(self.replay).saturating_add(self.fixed)
    }
}

impl Policy {
    /// What to do now that all rounds of `history` were replayed and `lag` is left.
    #[must_use]
    pub fn decide(&self, history: &[RoundStats], lag: Lag) -> Decision {
        let prediction = self.prediction(history, lag);
        let predicted = prediction.map(Prediction::total);
        if predicted.is_some_and(|predicted| predicted <= self.down_time_target) {
            return Decision::Final { predicted };
        }
        if history.len() >= self.max_rounds as usize {
            if self.force {
                return Decision::Final { predicted };
            }
            return self.give_up(history, prediction, limit_of(history, prediction, self.fixed));
        }
        match stuck(history) {
            Some(limit) if !self.force => self.give_up(history, prediction, limit),
            _ => Decision::Another,
        }
    }

    /// How long the container would be down if it were frozen now; `None` while nothing is known about the rates.
    #[must_use]
    pub fn predict(&self, history: &[RoundStats], lag: Lag) -> Option<Duration> {
        self.prediction(history, lag).map(Prediction::total)
    }

    fn prediction(&self, history: &[RoundStats], lag: Lag) -> Option<Prediction> {
        let recent = Sum::of(recent(history, RECENT))?;
        Some(Prediction {
            ship: scaled(recent.ship, lag.raw_bytes, recent.raw_bytes)?,
            replay: scaled(recent.replay, lag.records, recent.records)?,
            fixed: self.fixed,
        })
    }

    fn give_up(&self, history: &[RoundStats], prediction: Option<Prediction>, limit: Limit) -> Decision {
        let rounds = u32::try_from(history.len()).unwrap_or(u32::MAX);
        Decision::GiveUp(GiveUp { rounds, predicted: prediction.map(Prediction::total), target: self.down_time_target, limit })
    }
}

/// Sums over rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    records: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    made: Duration,
    ship: Duration,
    replay: Duration,
}

impl Sum {
    fn of(rounds: &[RoundStats]) -> Option<Self> {
        let (first, rest) = rounds.split_first()?;
        let first = Self {
            records: first.records,
            raw_bytes: first.raw_bytes,
            stored_bytes: first.stored_bytes,
            made: first.made,
            ship: first.ship,
            replay: first.replay,
        };
        Some(rest.iter().fold(first, |sum, round| Self {
            records: sum.records.saturating_add(round.records),
            raw_bytes: sum.raw_bytes.saturating_add(round.raw_bytes),
            stored_bytes: sum.stored_bytes.saturating_add(round.stored_bytes),
            made: sum.made.saturating_add(round.made),
            ship: sum.ship.saturating_add(round.ship),
            replay: sum.replay.saturating_add(round.replay),
        }))
    }

    fn replay_limit(&self) -> Limit {
        Limit::Replay { made_per_s: rate(self.records, self.made), replayed_per_s: rate(self.records, self.replay) }
    }

    fn link_limit(&self) -> Limit {
        Limit::Link { made_bytes_per_s: rate(self.stored_bytes, self.made), link_bytes_per_s: rate(self.stored_bytes, self.ship) }
    }
}

fn recent(history: &[RoundStats], n: usize) -> &[RoundStats] {
    &history[history.len().saturating_sub(n)..]
}

/// Whether the last rounds took no less to ship or to replay than to make. Round 0 is not asked: it was made since the
/// container's start, however long ago that is.
fn stuck(history: &[RoundStats]) -> Option<Limit> {
    let rounds = history.get(1..).filter(|rounds| rounds.len() >= PATIENCE)?;
    let sum = Sum::of(recent(rounds, PATIENCE))?;
    (sum.records > 0 && sum.replay.max(sum.ship) >= sum.made)
        .then(|| if sum.replay >= sum.ship { sum.replay_limit() } else { sum.link_limit() })
}

/// The largest part of what the down time would be.
fn limit_of(history: &[RoundStats], prediction: Option<Prediction>, fixed: Duration) -> Limit {
    match (Sum::of(recent(history, RECENT)), prediction) {
        (Some(sum), Some(p)) if p.replay >= p.ship && p.replay >= p.fixed => sum.replay_limit(),
        (Some(sum), Some(p)) if p.ship >= p.fixed => sum.link_limit(),
        (Some(sum), None) => sum.replay_limit(),
        _ => Limit::Fixed { fixed },
    }
}

/// `time * part / whole`; `None` when the whole was nothing and the part is not.
fn scaled(time: Duration, part: u64, whole: u64) -> Option<Duration> {
    if part == 0 {
        return Some(Duration::ZERO);
    }
    let ns = time.as_nanos().checked_mul(part.into())?.checked_div(whole.into())?;
    Some(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
}

fn rate(n: u64, time: Duration) -> f64 {
    n as f64 / time.as_secs_f64().max(1e-9)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
