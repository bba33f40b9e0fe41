//! Migrations, counted when they end.

use crate::agent::api::{ApiError, Code, MoveReport};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Upper bounds of the down time's buckets, in seconds. Dense around 200 ms, the default target.
const DOWN_TIME_SECONDS: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Of a whole migration, in seconds.
const DURATION_SECONDS: [f64; 11] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];

/// Which end of a migration this agent was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// How a migration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MoveResult {
    /// The container lives on the target.
    Moved,
    /// It runs on the source as before.
    Failed,
    /// It was not begun.
    Refused,
    /// Past the point of no return the target did not answer any more.
    InDoubt,
}

impl Side {
    const ALL: [Self; 2] = [Self::Source, Self::Target];

    const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }

    /// Results that this side can tell.
    const fn results(self) -> &'static [MoveResult] {
        match self {
            Self::Source => &[MoveResult::Moved, MoveResult::Failed, MoveResult::Refused, MoveResult::InDoubt],
            Self::Target => &[MoveResult::Moved, MoveResult::Failed],
        }
    }
}

impl MoveResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::InDoubt => "in_doubt",
        }
    }
}

type Labels = [(&'static str, &'static str); 2];

/// The counts of an agent's life.
#[derive(Debug)]
pub struct Moves {
    ended: Family<Labels, Counter>,
    down_time: Histogram,
    duration: Histogram,
}

impl Default for Moves {
    fn default() -> Self {
        let ended = Family::default();
        // A series that appears with its first count shows no increase: all of them are there from the start.
        for side in Side::ALL {
            for result in side.results() {
                drop(ended.get_or_create(&labels(side, *result)));
            }
        }
        Self { ended, down_time: Histogram::new(DOWN_TIME_SECONDS), duration: Histogram::new(DURATION_SECONDS) }
    }
}

impl Moves {
    /// A migration to this host has ended.
    pub fn received(&self, live: bool) {
        self.count(Side::Target, if live { MoveResult::Moved } else { MoveResult::Failed });
    }

    fn count(&self, side: Side, result: MoveResult) {
        self.ended.get_or_create(&labels(side, result)).inc();
    }

    /// What a client's request to move a container came to. Dry runs do not count.
    pub fn requested(&self, outcome: &Result<MoveReport, ApiError>) {
        match outcome {
            Ok(report) if report.dry_run => {}
            Ok(report) => {
                self.count(Side::Source, MoveResult::Moved);
                self.down_time.observe(Duration::from_micros(report.down.total_us).as_secs_f64());
                self.duration.observe(Duration::from_micros(report.total_us).as_secs_f64());
            }
            Err(error) => self.count(
                Side::Source,
                match error.code {
                    Code::Refused | Code::Usage => MoveResult::Refused,
                    Code::InDoubt => MoveResult::InDoubt,
                    _ => MoveResult::Failed,
                },
            ),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Migrations that ended, by the side that this agent was; one in doubt is counted once, whatever it comes to";
        registry.register("migrate_migrations", help, self.ended.clone());
        let help = "From the freeze of the source to the resume of the target, told by the source";
        registry.register_with_unit("migrate_migration_down_time", help, Unit::Seconds, self.down_time.clone());
        let help = "From the command accepted to the target live, told by the source";
        registry.register_with_unit("migrate_migration_duration", help, Unit::Seconds, self.duration.clone());
    }
}

const fn labels(side: Side, result: MoveResult) -> Labels {
    [("side", side.name()), ("result", result.name())]
}
