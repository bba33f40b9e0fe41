//! One container's records, in order.

use std::collections::{HashMap, VecDeque};

use migrate_common::record::{Header, Kind, flags};

use super::Batch;
use super::waiting::Waiting;
use crate::record::{Record, RecordRef};

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next record of the log. Its `slot` and `host_tid` are those of the source.
    Record(RecordRef<'a>),
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

/// Entries and images in, events out, each as soon as everything before it is there: [`Assembler::feed`],
/// [`Assembler::supply_image`], [`Assembler::no_image`].
///
/// Nearly every record comes whole and at its turn, and is handed on as it lies in the batch. Only what comes early, in pieces
/// or has to wait for an image is copied.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Number of the next record to come out.
    next: u64,
    /// Records from `next` on, whole or not.
    waiting: Waiting,
    /// Images that came before their Exec was at its turn, by host tid; None: there will be none.
    images: HashMap<u32, VecDeque<Option<Record>>>,
    /// Every record below is fed or lost.
    drained_below: u64,
    gap: Option<(u64, GapReason)>,
    copied: u64,
}

impl Assembler {
    /// For a container whose first record is numbered 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a sink was given, and hands what can come out now to `out`.
    pub fn feed(&mut self, batch: &Batch, mut out: impl FnMut(Event<'_>)) {
        for entry in batch.entries() {
            if self.gap.is_some() {
                return;
            }
            if is_whole(&entry.head) && entry.head.seq == self.next && !self.waiting.contains(self.next) {
                self.next += 1;
                out(Event::Record(entry));
                self.release(&mut out);
            } else {
                self.keep(entry, &mut out);
            }
        }
        if let Some(below) = batch.drained_below() {
            self.drained_below = self.drained_below.max(below);
        }
        self.release(&mut out);
    }

    /// Takes the image of the next Exec of a task. The log holds it behind the Exec, with its number and its tid.
    pub fn supply_image(&mut self, host_tid: u32, image: Record, mut out: impl FnMut(Event<'_>)) {
        self.images.entry(host_tid).or_default().push_back(Some(image));
        self.release(&mut out);
    }

    /// Says that the next Exec of a task has no image: the task was killed before its image could be looked at.
    pub fn no_image(&mut self, host_tid: u32, mut out: impl FnMut(Event<'_>)) {
        self.images.entry(host_tid).or_default().push_back(None);
        self.release(&mut out);
    }

    /// Number of the next record to come out.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// The task whose image the log waits for, as the host numbers it.
    #[must_use]
    pub fn waits_for_image(&self) -> Option<u32> {
        let head = &self.waiting.get(self.next)?.record.head;
        (head.kind == Kind::Exec as u8 && !self.images.contains_key(&head.host_tid)).then_some(head.host_tid)
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

    /// Entries, of all that were fed, that could not be handed on as they came.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// Keeps an entry that is not the next record, or not the whole of it.
    fn keep(&mut self, entry: RecordRef<'_>, out: &mut impl FnMut(Event<'_>)) {
        self.copied += 1;
        let seq = entry.head.seq;
        if let Some(partial) = self.waiting.get_mut(seq) {
            if entry.head.kind == Kind::Piece as u8 {
                partial.join(entry);
            } else {
                partial.broken = Some(GapReason::Twice);
            }
        } else if entry.head.kind == Kind::Piece as u8 {
            // A piece without its record is a piece of a record that was lost, which the hole tells.
            return;
        } else if seq < self.next {
            return self.end(GapReason::Twice, out);
        } else {
            self.waiting.insert(entry);
        }
        self.release(out);
    }

    /// Hands on what has waited and is at its turn now.
    fn release(&mut self, out: &mut impl FnMut(Event<'_>)) {
        while self.gap.is_none() {
            let drained = self.next < self.drained_below;
            let Some(partial) = self.waiting.get(self.next) else {
                if drained {
                    self.end(GapReason::Lost, out);
                }
                return;
            };
            if let Some(why) = partial.broken {
                return self.end(why, out);
            }
            if partial.more {
                if drained {
                    self.end(GapReason::Incomplete, out);
                }
                return;
            }
            let mut image = None;
            if partial.record.kind() == Some(Kind::Exec) {
                let host_tid = partial.record.head.host_tid;
                let Some(next) = self.next_image(host_tid) else { return };
                image = next;
            }
            let Some(record) = self.waiting.remove(self.next) else { return };
            self.next += 1;
            out(Event::Record(record.as_ref()));
            if let Some(image) = image {
                out(Event::Record(image_of(&record.head, &image)));
            }
            self.waiting.recycle(record);
        }
    }

    fn next_image(&mut self, host_tid: u32) -> Option<Option<Record>> {
        let images = self.images.get_mut(&host_tid)?;
        let image = images.pop_front();
        if images.is_empty() {
            self.images.remove(&host_tid);
        }
        image
    }

    fn end(&mut self, why: GapReason, out: &mut impl FnMut(Event<'_>)) {
        self.gap = Some((self.next, why));
        self.waiting.clear();
        self.images.clear();
        out(Event::Gap { at_seq: self.next, why });
    }
}

/// Whether an entry can be handed on as it is once it is its turn.
fn is_whole(head: &Header) -> bool {
    const NOT_YET: u16 = flags::MORE | flags::FAULT | flags::TOO_LARGE;
    head.flags & NOT_YET == 0 && head.kind != Kind::Piece as u8 && head.kind != Kind::Exec as u8
}

/// The image as the log holds it, behind its Exec.
fn image_of<'a>(exec: &Header, image: &'a Record) -> RecordRef<'a> {
    let &Header { seq, tid, host_tid, slot, time_ns, .. } = exec;
    RecordRef { head: Header { seq, tid, host_tid, slot, time_ns, ..image.head }, payload: &image.payload }
}
