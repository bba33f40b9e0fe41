//! The assembler against a model that looks through everything that was ever fed, at every step.

use std::collections::VecDeque;

use migrate_common::record::{Kind, flags};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::assembler_tests::{Out, TASK, batch, entries, exec, image};
use super::{Assembler, GapReason};
use crate::record::Record;

/// What happens to an assembler.
#[derive(Clone, Debug)]
enum Step {
    Feed(Vec<Record>, Option<u64>),
    Image(Option<Record>),
}

#[derive(Default)]
struct Model {
    fed: Vec<Record>,
    images: VecDeque<Option<Record>>,
    drained_below: u64,
    next: u64,
    ended: bool,
    out: Vec<Out>,
}

/// What the entries of one number are together.
enum State {
    Absent,
    Begun,
    Whole(Record),
    Broken(GapReason),
}

fn fault(entry: &Record) -> Option<GapReason> {
    match entry.head.flags {
        bits if bits & flags::FAULT != 0 => Some(GapReason::Fault),
        bits if bits & flags::TOO_LARGE != 0 => Some(GapReason::TooLarge),
        _ => None,
    }
}

impl Model {
    fn take(&mut self, step: Step) {
        match step {
            Step::Image(image) => self.images.push_back(image),
            Step::Feed(entries, drained_below) => {
                for entry in entries {
                    if entry.head.kind != Kind::Piece as u8 && entry.head.seq < self.next && !self.ended {
                        self.end(GapReason::Twice);
                    }
                    self.fed.push(entry);
                    self.advance();
                }
                self.drained_below = self.drained_below.max(drained_below.unwrap_or(0));
            }
        }
        self.advance();
    }

    fn end(&mut self, why: GapReason) {
        self.ended = true;
        self.out.push(Out::Gap { at_seq: self.next, why });
    }

    fn advance(&mut self) {
        while !self.ended {
            let drained = self.next < self.drained_below;
            match self.state() {
                State::Absent if drained => self.end(GapReason::Lost),
                State::Begun if drained => self.end(GapReason::Incomplete),
                State::Broken(why) => self.end(why),
                State::Absent | State::Begun => return,
                State::Whole(record) if record.head.kind != Kind::Exec as u8 => self.put(record),
                State::Whole(exec) => {
                    let Some(image) = self.images.pop_front() else { return };
                    let (seq, time_ns) = (exec.head.seq, exec.head.time_ns);
                    self.put(exec);
                    if let Some(mut image) = image {
                        (image.head.seq, image.head.time_ns) = (seq, time_ns);
                        self.out.push(Out::Record(image));
                    }
                }
            }
        }
    }

    fn put(&mut self, record: Record) {
        self.out.push(Out::Record(record));
        self.next += 1;
    }

    /// Of the next number.
    fn state(&self) -> State {
        let of_it = self.fed.iter().filter(|entry| entry.head.seq == self.next);
        // A piece before its record belongs to nothing.
        let mut of_it = of_it.skip_while(|entry| entry.head.kind == Kind::Piece as u8);
        let Some(head) = of_it.next() else { return State::Absent };
        let mut whole = head.clone();
        whole.head.flags &= !flags::MORE;
        let (mut more, mut broken, mut pieces) = (head.head.flags & flags::MORE != 0, fault(head), 0);
        for entry in of_it {
            if entry.head.kind != Kind::Piece as u8 {
                broken = Some(GapReason::Twice);
                continue;
            }
            pieces += 1;
            if !more || entry.head.nr != pieces {
                broken = broken.or(Some(GapReason::Incomplete));
                continue;
            }
            broken = broken.or(fault(entry));
            more = entry.head.flags & flags::LAST == 0;
            entry.segments().for_each(|segment| whole.push_segment(segment.addr, segment.bytes));
        }
        match (broken, more) {
            (Some(why), _) => State::Broken(why),
            (None, true) => State::Begun,
            (None, false) => State::Whole(whole),
        }
    }
}

/// What the ring does to the entries of a container.
#[derive(Clone, Debug)]
enum Mishap {
    /// An entry comes so many places late.
    Late(Index, usize),
    Lost(Index),
    Again(Index, Index),
    Flagged(Index, u16),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        8 => (any::<Index>(), 1usize..6).prop_map(|(at, by)| Mishap::Late(at, by)),
        1 => any::<Index>().prop_map(Mishap::Lost),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mishap::Again(from, to)),
        1 => (any::<Index>(), prop::sample::select(vec![flags::FAULT, flags::TOO_LARGE, flags::MORE, flags::LAST]))
            .prop_map(|(at, bits)| Mishap::Flagged(at, bits)),
    ]
}

fn befall(ring: &mut Vec<Record>, mishap: &Mishap) {
    if ring.is_empty() {
        return;
    }
    match mishap {
        Mishap::Late(at, by) => {
            let at = at.index(ring.len());
            let entry = ring.remove(at);
            ring.insert((at + by).min(ring.len()), entry);
        }
        Mishap::Lost(at) => drop(ring.remove(at.index(ring.len()))),
        Mishap::Again(from, to) => {
            let entry = ring[from.index(ring.len())].clone();
            ring.insert(to.index(ring.len()), entry);
        }
        Mishap::Flagged(at, bits) => {
            let at = at.index(ring.len());
            ring[at].head.flags |= bits;
        }
    }
}

prop_compose! {
    /// Records of 0 to 3 pieces, some of them execs (4), with what befalls them; batches; images in between.
    fn steps()(
        plan in vec(prop_oneof![6 => Just(0usize), 1 => 1usize..4, 1 => Just(4)], 1..30),
        mishaps in vec(mishap(), 0..8),
        cuts in vec((1usize..9, any::<bool>(), prop::option::weighted(0.3, prop::option::of(0u8..9))), 1..12),
        numbered in prop::option::of(0u64..30),
    ) -> Vec<Step> {
        let records = plan.iter().zip(0u64..);
        let mut ring: Vec<Record> =
            records.flat_map(|(&pieces, seq)| if pieces == 4 { vec![exec(seq, TASK)] } else { entries(seq, pieces).0 }).collect();
        mishaps.iter().for_each(|mishap| befall(&mut ring, mishap));
        let mut steps = Vec::new();
        for (cut, marked, pictured) in cuts {
            let later = ring.split_off(cut.min(ring.len()));
            // A mark as the drain makes it: nothing below it is still to come.
            let below = later.iter().map(|entry| entry.head.seq).min().filter(|_| marked);
            steps.push(Step::Feed(ring, below));
            if let Some(text) = pictured {
                steps.push(Step::Image(text.map(|text| image(&[text]))));
            }
            ring = later;
        }
        steps.push(Step::Feed(ring, numbered));
        steps.push(Step::Image(Some(image(b"the last"))));
        steps
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn what_comes_out_is_what_the_model_says_at_every_step(steps in steps()) {
        let (mut model, mut assembler, mut out) = (Model::default(), Assembler::new(), Vec::<Out>::new());
        for step in steps {
            model.take(step.clone());
            match step {
                Step::Feed(entries, below) => assembler.feed(&batch(&entries, below), |event| out.push(event.into())),
                Step::Image(Some(image)) => assembler.supply_image(TASK, image, |event| out.push(event.into())),
                Step::Image(None) => assembler.no_image(TASK, |event| out.push(event.into())),
            }
            prop_assert_eq!(&out, &model.out);
            prop_assert_eq!(assembler.next_seq(), model.next);
            prop_assert_eq!(assembler.gap().is_some(), model.ended);
        }
    }
}
