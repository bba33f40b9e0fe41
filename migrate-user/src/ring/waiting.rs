//! Records that came before their turn, or not whole.

use std::collections::BTreeMap;

use migrate_common::record::flags;

use super::GapReason;
use crate::record::{Record, RecordRef};

/// Payload buffers that are kept for the next record that has to wait, and the largest that is worth keeping.
const SPARES: usize = 32;
const SPARE_BYTES: usize = 64 << 10;

/// Records by number. Their payloads' buffers are used again.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    records: BTreeMap<u64, Partial>,
    spare: Vec<Vec<u8>>,
}

/// A record, or the beginning of one.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) record: Record,
    pieces: i32,
    /// More pieces are to come.
    pub(super) more: bool,
    /// The log ends before this record.
    pub(super) broken: Option<GapReason>,
}

impl Waiting {
    pub(super) fn get(&self, seq: u64) -> Option<&Partial> {
        self.records.get(&seq)
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Partial> {
        self.records.get_mut(&seq)
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        !self.records.is_empty() && self.records.contains_key(&seq)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn insert(&mut self, entry: RecordRef<'_>) {
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.extend_from_slice(entry.payload);
        self.records.insert(entry.head.seq, Partial::new(Record { head: entry.head, payload }));
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Record> {
        self.records.remove(&seq).map(|partial| partial.record)
    }

    /// Keeps the buffer of a record that nobody needs any more.
    pub(super) fn recycle(&mut self, record: Record) {
        let mut payload = record.payload;
        if self.spare.len() < SPARES && (1..=SPARE_BYTES).contains(&payload.capacity()) {
            payload.clear();
            self.spare.push(payload);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Partial {
    fn new(mut record: Record) -> Self {
        let more = record.head.flags & flags::MORE != 0;
        let broken = broken(record.head.flags);
        record.head.flags &= !flags::MORE;
        Self { record, pieces: 0, more, broken }
    }

    /// Appends a piece's payload.
    pub(super) fn join(&mut self, piece: RecordRef<'_>) {
        self.pieces += 1;
        if !self.more || piece.head.nr != self.pieces {
            self.broken = self.broken.or(Some(GapReason::Incomplete));
            return;
        }
        self.broken = self.broken.or(broken(piece.head.flags));
        self.more = piece.head.flags & flags::LAST == 0;
        self.record.append(piece.payload);
    }
}

/// What an entry's flags say about its payload.
fn broken(entry_flags: u16) -> Option<GapReason> {
    if entry_flags & flags::FAULT != 0 {
        Some(GapReason::Fault)
    } else if entry_flags & flags::TOO_LARGE != 0 {
        Some(GapReason::TooLarge)
    } else {
        None
    }
}
