//! Puts entries of the ring in the log's order, and goes on where one is lost.
//!
//! [`crate::ring::Assembler`] ends a log at the first loss, as a migration must; a measurement counts the loss and goes on.
//! Nor does it wait for the images that the agent adds behind an exec, since it stops no task to read them.

use crate::record::{Record, RecordRef};
use migrate_common::record::{Kind, flags};
use std::collections::BTreeMap;

/// Records that wait for a lost one before it, at most: then it is given up without a mark.
const MAX_WAITING: usize = 1 << 18;

/// Entries in, whole records out, by number.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Number of the next record to come out.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    missing: u64,
}

#[derive(Debug)]
struct Waiting {
    record: Record,
    /// Pieces are to come.
    more: bool,
}

impl Order {
    /// Takes an entry; what is at its turn by that goes to `out`.
    pub(super) fn entry(&mut self, entry: RecordRef<'_>, mut out: impl FnMut(RecordRef<'_>)) {
        let seq = entry.head.seq;
        if entry.kind() == Some(Kind::Piece) {
            if let Some(waiting) = self.waiting.get_mut(&seq) {
                waiting.join(entry);
            }
        } else if seq == self.next && self.waiting.is_empty() && entry.head.flags & flags::MORE == 0 {
            self.next += 1;
            out(entry);
            return;
        } else if seq < self.next {
            // It was given up too early.
            self.missing = self.missing.saturating_sub(1);
            out(entry);
            return;
        } else {
            self.waiting.insert(seq, Waiting::new(entry));
        }
        self.release(&mut out);
        if self.waiting.len() > MAX_WAITING {
            self.give_up(u64::MAX, &mut out);
        }
    }

    /// Every record numbered below this has come, or never will.
    pub(super) fn drained(&mut self, below: u64, mut out: impl FnMut(RecordRef<'_>)) {
        self.release(&mut out);
        while self.next < below {
            self.give_up(below, &mut out);
        }
    }

    /// Records that never came.
    pub(super) const fn missing(&self) -> u64 {
        self.missing
    }

    /// Hands out what is whole and at its turn.
    fn release(&mut self, out: &mut impl FnMut(RecordRef<'_>)) {
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() != self.next || first.get().more {
                return;
            }
            out(first.remove().record.as_ref());
            self.next += 1;
        }
    }

    /// Goes over a hole, or hands out a record without its last pieces, as far as `below`.
    fn give_up(&mut self, below: u64, out: &mut impl FnMut(RecordRef<'_>)) {
        let next = self.next;
        match self.waiting.first_entry() {
            Some(mut first) if *first.key() == next => first.get_mut().more = false,
            first => {
                let hole_ends = first.map_or(below, |first| below.min(*first.key()));
                self.missing += hole_ends - next;
                self.next = hole_ends;
            }
        }
        self.release(out);
    }
}

impl Waiting {
    fn new(entry: RecordRef<'_>) -> Self {
        let more = entry.head.flags & flags::MORE != 0;
        let mut record = entry.to_owned();
        record.head.flags &= !flags::MORE;
        Self { record, more }
    }

    fn join(&mut self, piece: RecordRef<'_>) {
        self.more &= piece.head.flags & flags::LAST == 0;
        self.record.head.flags |= piece.head.flags & (flags::FAULT | flags::TOO_LARGE);
        self.record.append(piece.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_common::record::Header;

    fn record(seq: u64, kind: Kind, entry_flags: u16, bytes: &[u8]) -> Record {
        let head = Header { seq, kind: kind as u8, flags: entry_flags, len: 96, ..Header::default() };
        let mut record = Record { head, payload: Vec::new() };
        if !bytes.is_empty() {
            record.push_segment(0x1000, bytes);
        }
        record
    }

    fn call(seq: u64) -> Record {
        record(seq, Kind::Syscall, 0, &[])
    }

    /// Numbers that come out after each entry.
    fn feed(order: &mut Order, entries: &[Record]) -> Vec<u64> {
        let mut out = Vec::new();
        entries.iter().for_each(|entry| order.entry(entry.as_ref(), |record| out.push(record.head.seq)));
        out
    }

    #[test]
    fn records_come_out_by_number_however_the_cpus_mixed_them() {
        let mut order = Order::default();
        assert_eq!(feed(&mut order, &[call(1), call(2), call(0), call(4), call(3)]), [0, 1, 2, 3, 4]);
        assert_eq!(order.missing(), 0);
    }

    #[test]
    fn a_lost_record_is_counted_at_the_mark_and_the_rest_comes_out() {
        let mut order = Order::default();
        assert_eq!(feed(&mut order, &[call(0), call(3), call(5)]), [0]);
        let mut out = Vec::new();
        order.drained(5, |record| out.push(record.head.seq));
        assert_eq!((out.as_slice(), order.missing()), (&[3, 5][..], 3), "1, 2 and 4 never came; 5 is at its turn");
        order.drained(8, |_| unreachable!());
        assert_eq!(order.missing(), 5);
        assert_eq!(feed(&mut order, &[call(8)]), [8]);
    }

    #[test]
    fn pieces_are_joined_and_a_record_without_its_last_piece_comes_out_short() {
        let mut order = Order::default();
        let pieces = [
            record(0, Kind::Syscall, flags::MORE, b"one"),
            call(1),
            record(0, Kind::Piece, 0, b"two"),
            record(0, Kind::Piece, flags::LAST, b"three"),
            record(2, Kind::Syscall, flags::MORE, b"four"),
        ];
        let mut out = Vec::new();
        pieces.iter().for_each(|entry| order.entry(entry.as_ref(), |record| out.push(record.to_owned())));
        assert_eq!(out.iter().map(|record| record.segments().count()).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(out[0].head.flags & flags::MORE, 0);
        assert_eq!(out[0].head.len as usize, out[0].len_bytes());
        order.drained(3, |record| out.push(record.to_owned()));
        assert_eq!((out[2].segments().count(), order.missing()), (1, 0));
    }
}
