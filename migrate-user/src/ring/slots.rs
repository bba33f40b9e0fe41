//! What the drain knows of each container: its sink, what has come so far, and whether something is overdue.

use std::collections::HashMap;

use migrate_common::maps::Counters;
use migrate_common::record::{Header, Kind};

use super::drain::Sink;
use super::{Batch, RawEntry};

/// The containers with a sink.
#[derive(Default)]
pub(super) struct Slots(HashMap<u32, Slot>);

struct Slot {
    sink: Sink,
    batch: Batch,
    /// Records, not pieces, that came.
    heads: u64,
    /// Records that were numbered at the last look.
    numbered: u64,
    /// A mark has told of a loss: no more is needed.
    told: bool,
}

impl Slots {
    pub(super) fn add(&mut self, slot: u32, sink: Sink) {
        self.0.insert(slot, Slot { sink, batch: Batch::default(), heads: 0, numbered: 0, told: false });
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.0.remove(&slot);
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.0.contains_key(&slot)
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        self.0.keys().copied().collect()
    }

    /// Keeps an entry for the next delivery. False: nobody wants it.
    pub(super) fn push(&mut self, slot: u32, entry: RawEntry) -> bool {
        let Some(slot) = self.0.get_mut(&slot) else { return false };
        slot.heads += u64::from(is_head(&entry.head));
        slot.batch.entries.push(entry);
        true
    }

    /// Everything of `slot` numbered below this has been pushed, or is lost.
    pub(super) fn mark(&mut self, slot: u32, below: u64) {
        if let Some(slot) = self.0.get_mut(&slot) {
            slot.batch.drained_below = Some(below);
            slot.told = slot.heads < below;
        }
    }

    /// Gives the sinks what was pushed.
    pub(super) fn deliver(&mut self) {
        for slot in self.0.values_mut() {
            if !slot.batch.entries.is_empty() || slot.batch.drained_below.is_some() {
                (slot.sink)(std::mem::take(&mut slot.batch));
            }
        }
    }

    /// Whether something of `slot` should have come by now, at a look that follows another with the ring emptied in between.
    /// It may be late: only a mark tells.
    pub(super) fn overdue(&mut self, slot: u32, counters: &Counters) -> bool {
        let Some(slot) = self.0.get_mut(&slot) else { return false };
        let before = std::mem::replace(&mut slot.numbered, counters.seq);
        !slot.told && (slot.heads < before || counters.ring_full > 0)
    }
}

fn is_head(head: &Header) -> bool {
    head.kind != Kind::Piece as u8
}
