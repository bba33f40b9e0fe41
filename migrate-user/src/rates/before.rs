//! What a container's counters were at the last sample: what has come since.

use super::sample::{Amounts, Lost};
use super::tally;
use crate::probe::TallyRow;
use migrate_common::maps::Counters;
use migrate_common::record::Kind;
use std::collections::HashMap;

/// What a container's counters were at the last sample.
#[derive(Debug, Default)]
pub(super) struct Before {
    counters: Counters,
    unexplained: u64,
    tallies: Counted,
}

/// Events and bytes that the kernel has counted, by kind of record, call and whether on a socket.
type Counted = HashMap<(Kind, i32, bool), (u64, u64)>;

impl Before {
    /// What the kernel has counted since the last call.
    pub(super) fn counted(&mut self, rows: Vec<TallyRow>) -> Vec<(tally::Cell, Amounts)> {
        let since = |row: TallyRow| {
            let (events, bytes) =
                self.tallies.insert((row.kind, row.nr, row.socket), (row.events, row.bytes)).unwrap_or_default();
            let amounts = Amounts { events: row.events - events, input_bytes: row.bytes - bytes, log: None };
            (tally::Cell::of_row(row.kind, row.nr, row.group), amounts)
        };
        rows.into_iter().map(since).collect()
    }

    /// What was lost since the last call. Records that are missing although no counter says why are lost too.
    pub(super) fn lost(&mut self, now: Counters, missing: u64) -> Lost {
        let unexplained = missing.saturating_sub(now.ring_full + now.too_large);
        let before = (std::mem::replace(&mut self.counters, now), std::mem::replace(&mut self.unexplained, unexplained));
        let (counters, unexplained_before) = before;
        Lost {
            ring_full: now.ring_full.saturating_sub(counters.ring_full),
            too_large: now.too_large.saturating_sub(counters.too_large),
            faults: now.faults.saturating_sub(counters.faults),
            missed_runs: 0,
            unexplained: unexplained.saturating_sub(unexplained_before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_those_since_the_sample_before_and_each_has_one_cause() {
        let mut before = Before::default();
        let counters = |ring_full, too_large| Counters { ring_full, too_large, ..Counters::default() };
        let lost = before.lost(counters(2, 1), 5);
        assert_eq!(lost, Lost { ring_full: 2, too_large: 1, unexplained: 2, ..Lost::default() });
        assert_eq!(before.lost(counters(2, 1), 5), Lost::default());
        assert_eq!(before.lost(counters(4, 1), 7), Lost { ring_full: 2, ..Lost::default() });
    }
}
