//! What the assembler promises, on made-up entries.

use migrate_common::record::{HEADER_BYTES, Header, Kind, flags};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Assembler, Batch, Event, GapReason};
use crate::record::Record;

/// [`Event`], to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Record(Record),
    Gap { at_seq: u64, why: GapReason },
}

impl From<Event<'_>> for Out {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Record(record) => Self::Record(record.to_owned()),
            Event::Gap { at_seq, why } => Self::Gap { at_seq, why },
        }
    }
}

/// The host's number of every task here, unless a test says otherwise.
pub(super) const TASK: u32 = 4711;

pub(super) fn record(seq: u64, payload: &[u8]) -> Record {
    #[expect(clippy::cast_possible_truncation, reason = "a constant")]
    let len = HEADER_BYTES as u32;
    let head = Header { len, kind: Kind::Syscall as u8, slot: 3, tid: 7, host_tid: TASK, seq, ..Header::default() };
    let mut record = Record { head, payload: Vec::new() };
    if !payload.is_empty() {
        record.push_segment(0x1000, payload);
    }
    record
}

pub(super) fn exec(seq: u64, host_tid: u32) -> Record {
    let mut exec = record(seq, b"");
    exec.head.kind = Kind::Exec as u8;
    exec.head.host_tid = host_tid;
    exec
}

pub(super) fn image(text: &[u8]) -> Record {
    let mut image = record(99, text);
    image.head.kind = Kind::Image as u8;
    image
}

pub(super) fn batch(entries: &[Record], drained_below: Option<u64>) -> Batch {
    let mut batch = Batch::new();
    entries.iter().for_each(|entry| batch.push(entry.as_ref()));
    if let Some(below) = drained_below {
        batch.mark(below);
    }
    batch
}

/// The entries that a record of so many pieces is in the ring, and the record that they make.
pub(super) fn entries(seq: u64, pieces: usize) -> (Vec<Record>, Record) {
    let mut whole = record(seq, b"first");
    let mut entries = vec![whole.clone()];
    for n in 1..=pieces {
        entries.last_mut().unwrap().head.flags |= flags::MORE;
        let mut piece = record(seq, format!("piece {n}").as_bytes());
        piece.head.kind = Kind::Piece as u8;
        piece.head.nr = i32::try_from(n).unwrap();
        whole.push_segment(0x1000, format!("piece {n}").as_bytes());
        entries.push(piece);
    }
    if pieces > 0 {
        entries.last_mut().unwrap().head.flags |= flags::LAST;
    }
    (entries, whole)
}

/// Records with so many pieces each, shared out to two CPUs: what each CPU put into the ring, and the log.
fn two_cpus(plan: &[(usize, bool)]) -> ([Vec<Record>; 2], Vec<Record>) {
    let mut cpus = [Vec::new(), Vec::new()];
    let mut log = Vec::new();
    for (seq, &(pieces, second)) in plan.iter().enumerate() {
        let (entries, whole) = entries(seq as u64, pieces);
        cpus[usize::from(second)].extend(entries);
        log.push(whole);
    }
    (cpus, log)
}

/// One order in which the entries of two CPUs can come out of the ring: `turns` says which CPU is next.
fn interleave(cpus: [Vec<Record>; 2], turns: &[bool]) -> Vec<Record> {
    let mut cpus = cpus.map(Vec::into_iter);
    let mut ring = Vec::new();
    for &second in turns {
        ring.extend(cpus[usize::from(second)].next());
    }
    let [first, second] = cpus;
    ring.extend(first);
    ring.extend(second);
    ring
}

/// Feeds in batches of the sizes in `cuts`, then marks everything as drained. Every event.
fn assemble(ring: &[Record], cuts: &[usize], numbered: u64) -> Vec<Out> {
    let mut assembler = Assembler::new();
    let mut out = Vec::new();
    let mut rest = ring;
    for &cut in cuts {
        let (now, later) = rest.split_at(cut.min(rest.len()));
        assembler.feed(&batch(now, None), |event| out.push(event.into()));
        rest = later;
    }
    assembler.feed(&batch(rest, Some(numbered)), |event| out.push(event.into()));
    out
}

prop_compose! {
    fn plan()(plan in vec((prop_oneof![4 => Just(0usize), 1 => 1usize..4], any::<bool>()), 1..40)) -> Vec<(usize, bool)> { plan }
}

proptest! {
    #[test]
    fn any_interleaving_of_two_cpus_comes_out_in_order(plan in plan(), turns in vec(any::<bool>(), 0..200), cuts in vec(0usize..9, 0..20)) {
        let (cpus, log) = two_cpus(&plan);
        let events = assemble(&interleave(cpus, &turns), &cuts, log.len() as u64);
        prop_assert_eq!(events, log.into_iter().map(Out::Record).collect::<Vec<_>>());
    }

    #[test]
    fn any_entry_that_is_missing_ends_the_log_where_it_belongs(
        plan in plan(), turns in vec(any::<bool>(), 0..200), cuts in vec(0usize..9, 0..20), victim in any::<Index>()
    ) {
        let (cpus, log) = two_cpus(&plan);
        let mut ring = interleave(cpus, &turns);
        let lost = ring.remove(victim.index(ring.len())).head.seq;
        let events = assemble(&ring, &cuts, log.len() as u64);
        let (last, before) = events.split_last().unwrap();
        prop_assert!(matches!(last, Out::Gap { at_seq, .. } if *at_seq == lost), "{last:?}, lost {lost}");
        let expected: Vec<_> = log.into_iter().take(usize::try_from(lost).unwrap()).map(Out::Record).collect();
        prop_assert_eq!(before, expected);
    }

    #[test]
    fn records_that_come_whole_and_in_order_are_not_copied(n in 1u64..50, cuts in vec(0usize..9, 0..20)) {
        let ring: Vec<_> = (0..n).map(|seq| record(seq, b"as it came")).collect();
        let mut assembler = Assembler::new();
        let mut rest = ring.as_slice();
        for cut in cuts.into_iter().chain([ring.len()]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            let batch = batch(now, None);
            let places: Vec<_> = batch.entries().map(|entry| entry.payload.as_ptr()).collect();
            let mut seen = Vec::new();
            assembler.feed(&batch, |event| match event {
                Event::Record(record) => seen.push(record.payload.as_ptr()),
                Event::Gap { .. } => panic!("{event:?}"),
            });
            prop_assert_eq!(seen, places);
            rest = later;
        }
        prop_assert_eq!((assembler.copied(), assembler.next_seq()), (0, n));
    }
}

/// What comes out when these are fed.
fn fed(assembler: &mut Assembler, entries: &[Record], drained_below: Option<u64>) -> Vec<Out> {
    let mut out = Vec::new();
    assembler.feed(&batch(entries, drained_below), |event| out.push(event.into()));
    out
}

#[test]
fn a_late_record_is_waited_for_and_a_lost_one_is_not() {
    let mut assembler = Assembler::new();
    assert_eq!(fed(&mut assembler, &[record(1, b"")], None), []);
    assert_eq!(assembler.waiting(), 1);
    let both = [Out::Record(record(0, b"")), Out::Record(record(1, b""))];
    assert_eq!(fed(&mut assembler, &[record(0, b"")], Some(1)), both);
    assert_eq!(fed(&mut assembler, &[], Some(3)), [Out::Gap { at_seq: 2, why: GapReason::Lost }]);
    assert_eq!(fed(&mut assembler, &[record(2, b"")], Some(3)), [], "nothing comes out behind a gap");
}

#[test]
fn a_record_that_could_not_be_read_whole_ends_the_log() {
    for (flag, why) in [(flags::FAULT, GapReason::Fault), (flags::TOO_LARGE, GapReason::TooLarge)] {
        let mut bad = record(0, b"half");
        bad.head.flags = flag;
        assert_eq!(assemble(&[bad, record(1, b"")], &[], 2), [Out::Gap { at_seq: 0, why }]);
        let (mut pieces, _) = entries(0, 2);
        pieces[2].head.flags |= flag;
        assert_eq!(assemble(&pieces, &[], 1), [Out::Gap { at_seq: 0, why }]);
    }
}

#[test]
fn a_record_numbered_twice_ends_the_log() {
    for cuts in [&[][..], &[1]] {
        let events = assemble(&[record(0, b""), record(0, b"")], cuts, 1);
        assert_eq!(events, [Out::Record(record(0, b"")), Out::Gap { at_seq: 1, why: GapReason::Twice }]);
        let events = assemble(&[record(1, b""), record(1, b""), record(0, b"")], cuts, 2);
        assert_eq!(events, [Out::Record(record(0, b"")), Out::Gap { at_seq: 1, why: GapReason::Twice }]);
    }
}

#[test]
fn an_exec_waits_for_its_image_which_stands_behind_it() {
    let mut assembler = Assembler::new();
    let mut out: Vec<Out> = fed(&mut assembler, &[exec(0, 10), record(1, b""), exec(2, 10), exec(3, 11)], Some(4));
    assert_eq!((out.as_slice(), assembler.waits_for_image()), (&[][..], Some(10)));
    assembler.supply_image(11, image(b"eleven"), |event| out.push(event.into()));
    assert_eq!(out, []);
    assembler.supply_image(10, image(b"ten, first"), |event| out.push(event.into()));
    assert_eq!(assembler.waits_for_image(), Some(10));
    assembler.supply_image(10, image(b"ten, second"), |event| out.push(event.into()));
    assert_eq!(assembler.waits_for_image(), None);
    let seen: Vec<_> = out
        .iter()
        .map(|out| match out {
            Out::Record(record) => {
                (record.head.kind, record.head.seq, record.head.host_tid, record.segments().next().map(|s| s.bytes))
            }
            Out::Gap { .. } => panic!("{out:?}"),
        })
        .collect();
    let (exec, image, call) = (Kind::Exec as u8, Kind::Image as u8, Kind::Syscall as u8);
    assert_eq!(
        seen,
        [
            (exec, 0, 10, None),
            (image, 0, 10, Some(&b"ten, first"[..])),
            (call, 1, TASK, None),
            (exec, 2, 10, None),
            (image, 2, 10, Some(&b"ten, second"[..])),
            (exec, 3, 11, None),
            (image, 3, 11, Some(&b"eleven"[..])),
        ]
    );
}

#[test]
fn an_exec_whose_task_was_killed_goes_on_without_an_image() {
    let mut assembler = Assembler::new();
    let mut out = fed(&mut assembler, &[exec(0, 10), record(1, b"")], None);
    assembler.no_image(10, |event| out.push(event.into()));
    assert_eq!(out, [Out::Record(exec(0, 10)), Out::Record(record(1, b""))]);
}
