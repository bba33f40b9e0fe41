//! What the drain knows of each container: its sink, what has come so far, and whether something is overdue.

use std::sync::Arc;

use migrate_common::maps::Counters;
use migrate_common::record::{Header, Kind};

use super::batch::{Batch, Buffers};
use super::drain::Sink;
use crate::record::RecordRef;

/// The containers with a sink, by slot.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Option<Slot>>,
    buffers: Arc<Buffers>,
}

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
    pub(super) fn new(buffers: Arc<Buffers>) -> Self {
        Self { slots: Vec::new(), buffers }
    }

    pub(super) fn add(&mut self, slot: u32, sink: Sink) {
        let at = slot as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(Slot { sink, batch: Batch::default(), heads: 0, numbered: 0, told: false });
    }

    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            *slot = None;
        }
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(Option::is_some)
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        let taken = self.slots.iter().zip(0..).filter(|(slot, _)| slot.is_some());
        taken.map(|(_, number)| number).collect()
    }

    /// Keeps an entry for the next delivery. False: nobody wants it.
    pub(super) fn push(&mut self, entry: RecordRef<'_>) -> bool {
        let Some(slot) = self.get(entry.head.slot) else { return false };
        slot.heads += u64::from(is_head(&entry.head));
        slot.batch.push(entry);
        true
    }

    /// Everything of `slot` numbered below this has been pushed, or is lost.
    pub(super) fn mark(&mut self, slot: u32, below: u64) {
        if let Some(slot) = self.get(slot) {
            slot.batch.mark(below);
            slot.told = slot.heads < below;
        }
    }

    /// Gives the sinks what was pushed. Returns how many batches that were.
    pub(super) fn deliver(&mut self) -> u64 {
        let mut batches = 0;
        for slot in self.slots.iter_mut().flatten() {
            if !slot.batch.is_empty() {
                (slot.sink)(self.buffers.send_off(&mut slot.batch));
                batches += 1;
            }
        }
        batches
    }

    /// Whether something of `slot` should have come by now, at a look that follows another with the ring emptied in between.
    /// It may be late: only a mark tells.
    pub(super) fn overdue(&mut self, slot: u32, counters: &Counters) -> bool {
        let Some(slot) = self.get(slot) else { return false };
        let before = std::mem::replace(&mut slot.numbered, counters.seq);
        !slot.told && (slot.heads < before || counters.ring_full > 0)
    }

    fn get(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }
}

fn is_head(head: &Header) -> bool {
    head.kind != Kind::Piece as u8
}
