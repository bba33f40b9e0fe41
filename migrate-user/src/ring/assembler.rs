//! One container's records, in order.

use std::collections::{BTreeMap, HashMap, VecDeque};

use migrate_common::record::{Kind, flags};

use super::{Batch, RawEntry};
use crate::record::Record;

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next record of the log. Its `slot` and `host_tid` are those of the source: [`for_log`] removes them.
    Record(Record),
    /// The log ends before the record `at_seq`: nothing more comes out.
    Gap { at_seq: u64, why: GapReason },
}

/// Why a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GapReason {
    #[error("the record was lost: the ring was full")]
    Lost,
    #[error("a part of the record's payload was lost: the ring was full")]
    Incomplete,
    #[error("what the call wrote could not be read from the task's memory")]
    Fault,
    #[error("the call wrote more than the recorder takes")]
    TooLarge,
    #[error("two records have the same number")]
    Twice,
}

/// Entries in, events out: [`Assembler::feed`], [`Assembler::supply_image`], [`Assembler::poll`].
#[derive(Debug, Default)]
pub struct Assembler {
    /// Number of the next record to come out.
    next: u64,
    /// Records from `next` on, whole or not.
    waiting: BTreeMap<u64, Partial>,
    /// Images that came before their Exec was at its turn, by host tid; None: there will be none.
    images: HashMap<u32, VecDeque<Option<Record>>>,
    /// The image of the Exec that came out last.
    image: Option<Record>,
    /// Every record below is fed or lost.
    drained_below: u64,
    gap: Option<(u64, GapReason)>,
    gap_told: bool,
}

#[derive(Debug)]
struct Partial {
    record: Record,
    pieces: i32,
    /// More pieces are to come.
    more: bool,
    broken: Option<GapReason>,
}

impl Assembler {
    /// For a container whose first record is numbered 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a sink was given.
    pub fn feed(&mut self, batch: Batch) {
        for entry in batch.entries {
            self.entry(entry);
        }
        if let Some(below) = batch.drained_below {
            self.drained_below = self.drained_below.max(below);
        }
    }

    /// Takes the image of the next Exec of a task. The log holds it behind the Exec, with its number and its tid.
    pub fn supply_image(&mut self, host_tid: u32, image: Record) {
        self.images.entry(host_tid).or_default().push_back(Some(image));
    }

    /// Says that the next Exec of a task has no image: the task was killed before its image could be looked at.
    pub fn no_image(&mut self, host_tid: u32) {
        self.images.entry(host_tid).or_default().push_back(None);
    }

    /// The next event; none while the next record has not been fed or waits for its image.
    pub fn poll(&mut self) -> Option<Event> {
        if let Some((at_seq, why)) = self.gap {
            return (!std::mem::replace(&mut self.gap_told, true)).then_some(Event::Gap { at_seq, why });
        }
        if let Some(image) = self.image.take() {
            return Some(Event::Record(image));
        }
        let drained = self.next < self.drained_below;
        let Some(partial) = self.waiting.get(&self.next) else {
            return if drained { self.end(GapReason::Lost) } else { None };
        };
        if let Some(why) = partial.broken {
            return self.end(why);
        }
        if partial.more {
            return if drained { self.end(GapReason::Incomplete) } else { None };
        }
        if partial.record.kind() == Some(Kind::Exec) {
            let image = self.images.get_mut(&partial.record.head.host_tid)?.pop_front()?;
            self.image = image.map(|image| image_of(&partial.record, image));
        }
        let partial = self.waiting.remove(&self.next)?;
        self.next += 1;
        Some(Event::Record(partial.record))
    }

    /// Every event that there is now.
    pub fn poll_all(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.poll()).collect()
    }

    /// Number of the next record to come out.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// The task whose image the log waits for, as the host numbers it.
    #[must_use]
    pub fn waits_for_image(&self) -> Option<u32> {
        let head = &self.waiting.get(&self.next)?.record.head;
        let waits =
            self.gap.is_none() && head.kind == Kind::Exec as u8 && self.images.get(&head.host_tid).is_none_or(VecDeque::is_empty);
        waits.then_some(head.host_tid)
    }

    /// Records that wait for one before them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Where and why the log has ended.
    #[must_use]
    pub fn gap(&self) -> Option<(u64, GapReason)> {
        self.gap
    }

    fn end(&mut self, why: GapReason) -> Option<Event> {
        self.gap = Some((self.next, why));
        self.waiting.clear();
        self.images.clear();
        self.poll()
    }

    fn entry(&mut self, entry: RawEntry) {
        if self.gap.is_some() {
            return;
        }
        let seq = entry.head.seq;
        if entry.kind() == Some(Kind::Piece) {
            // A piece without its record is a piece of a record that was lost, which the hole tells.
            if let Some(partial) = self.waiting.get_mut(&seq) {
                partial.join(&entry);
            }
        } else if seq < self.next || self.waiting.contains_key(&seq) {
            self.twice(seq);
        } else {
            self.waiting.insert(seq, Partial::new(entry));
        }
    }

    fn twice(&mut self, seq: u64) {
        if let Some(partial) = self.waiting.get_mut(&seq) {
            partial.broken = Some(GapReason::Twice);
        } else {
            self.gap = Some((self.next, GapReason::Twice));
        }
    }
}

impl Partial {
    fn new(mut record: Record) -> Self {
        let more = record.head.flags & flags::MORE != 0;
        let broken = broken(record.head.flags);
        record.head.flags &= !flags::MORE;
        Self { record, pieces: 0, more, broken }
    }

    fn join(&mut self, piece: &RawEntry) {
        self.pieces += 1;
        if !self.more || piece.head.nr != self.pieces {
            self.broken = self.broken.or(Some(GapReason::Incomplete));
            return;
        }
        self.broken = self.broken.or(broken(piece.head.flags));
        self.more = piece.head.flags & flags::LAST == 0;
        self.record.payload.extend_from_slice(&piece.payload);
        self.record.head.len = u32::try_from(self.record.len_bytes()).unwrap_or(u32::MAX);
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

fn image_of(exec: &Record, mut image: Record) -> Record {
    image.head.seq = exec.head.seq;
    image.head.tid = exec.head.tid;
    image.head.host_tid = exec.head.host_tid;
    image.head.slot = exec.head.slot;
    image.head.time_ns = exec.head.time_ns;
    image
}

/// A record as a log holds it: without what only means something on the source.
#[must_use]
pub fn for_log(mut record: Record) -> Record {
    record.head.slot = 0;
    record.head.host_tid = 0;
    record
}
