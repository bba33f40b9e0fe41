//! Book-keeping of a move's rounds: which chunks belong to which, and how long each took.
//!
//! Round 0 is the log from the container's start to the move's begin. A round ends when all its chunks are replayed; the next is
//! what the source made meanwhile.

use super::api::RoundReport;
use super::errors::micros;
use crate::round::ChunkHeader;
use crate::round::policy::{Decision, Lag, Policy, RoundStats};
use crate::round::spool::Totals;
use std::time::{Duration, Instant};

/// Rounds shorter than this say nothing about rates.
const SHORTEST: Duration = crate::round::policy::MIN_ROUND;

/// The rounds of one move.
#[derive(Debug)]
pub struct Rounds {
    history: Vec<RoundStats>,
    reports: Vec<RoundReport>,
    current: RoundStats,
    /// The round is over when so many chunks, from the log's start, are replayed.
    end_chunks: u64,
    begun: Instant,
    shipped: Totals,
    replayed_records: u64,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            history: Vec::new(),
            reports: Vec::new(),
            current: RoundStats::default(),
            end_chunks: 0,
            begun: Instant::now(),
            shipped: Totals::default(),
            replayed_records: 0,
        }
    }
}

impl Rounds {
    /// The log holds `totals` when the move begins.
    pub fn begin(&mut self, totals: Totals) {
        self.end_chunks = totals.chunks;
        self.begun = Instant::now();
    }

    /// The current round's number.
    #[must_use]
    pub fn number(&self) -> u32 {
        u32::try_from(self.history.len()).unwrap_or(u32::MAX)
    }

    /// A chunk is sent.
    pub fn shipping(&mut self, head: &ChunkHeader) {
        self.current.records += head.records;
        self.current.raw_bytes += u64::from(head.raw_bytes);
        self.current.stored_bytes += u64::from(head.stored_bytes);
        self.shipped.records += head.records;
        self.shipped.raw_bytes += u64::from(head.raw_bytes);
    }

    /// A send took so long.
    pub fn sent(&mut self, took: Duration) {
        self.current.ship += took;
    }

    /// So many records were replayed, and it took so long.
    pub fn replayed(&mut self, records: u64, took: Duration) {
        self.replayed_records += records;
        self.current.replay += took;
    }

    /// All its chunks are replayed, and it was long enough to say something.
    #[must_use]
    pub fn is_over(&self, replayed_chunks: u64) -> bool {
        replayed_chunks >= self.end_chunks && (self.history.is_empty() || self.begun.elapsed() >= SHORTEST)
    }

    /// The round is over: what next, while the log holds `totals`?
    pub fn decide(&mut self, policy: &Policy, totals: Totals) -> (Decision, RoundReport) {
        let mut finished = std::mem::take(&mut self.current);
        finished.made = self.begun.elapsed();
        let lag = Lag {
            records: totals.records.saturating_sub(self.replayed_records),
            raw_bytes: totals.raw_bytes.saturating_sub(self.shipped.raw_bytes),
        };
        let report = self.report_of(&finished, lag.records);
        self.history.push(finished);
        self.reports.push(report);
        self.end_chunks = totals.chunks;
        self.begun = Instant::now();
        (policy.decide(&self.history, lag), report)
    }

    /// All rounds, with the last one that the freeze cut, and bytes of records and of what was shipped.
    #[must_use]
    pub fn report(&self) -> (Vec<RoundReport>, u64, u64) {
        let mut all = self.reports.clone();
        if self.current.records > 0 {
            all.push(self.report_of(&self.current, 0));
        }
        let raw = all.iter().map(|round| round.raw_bytes).sum();
        let compressed = all.iter().map(|round| round.compressed_bytes).sum();
        (all, raw, compressed)
    }

    fn report_of(&self, stats: &RoundStats, lag_records: u64) -> RoundReport {
        RoundReport {
            round: self.number(),
            records: stats.records,
            raw_bytes: stats.raw_bytes,
            compressed_bytes: stats.stored_bytes,
            ship_us: micros(stats.ship),
            replay_us: micros(stats.replay),
            lag_records,
        }
    }
}
