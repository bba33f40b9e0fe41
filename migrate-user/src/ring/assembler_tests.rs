//! What the assembler promises, on made-up entries.

use migrate_common::record::{HEADER_BYTES, Header, Kind, flags};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Assembler, Batch, Event, GapReason, RawEntry, for_log};
use crate::record::Record;

fn record(seq: u64, payload: &[u8]) -> Record {
    #[expect(clippy::cast_possible_truncation, reason = "a constant")]
    let len = HEADER_BYTES as u32;
    let head = Header { len, kind: Kind::Syscall as u8, slot: 3, tid: 7, host_tid: 4711, seq, ..Header::default() };
    let mut record = Record { head, payload: Vec::new() };
    if !payload.is_empty() {
        record.push_segment(0x1000, payload);
    }
    record
}

/// The entries that a record of so many pieces is in the ring, and the record that they make.
fn entries(seq: u64, pieces: usize) -> (Vec<RawEntry>, Record) {
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
fn two_cpus(plan: &[(usize, bool)]) -> ([Vec<RawEntry>; 2], Vec<Record>) {
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
fn interleave(cpus: [Vec<RawEntry>; 2], turns: &[bool]) -> Vec<RawEntry> {
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
fn assemble(ring: Vec<RawEntry>, cuts: &[usize], numbered: u64) -> Vec<Event> {
    let mut assembler = Assembler::new();
    let mut events = Vec::new();
    let mut rest = ring.into_iter();
    for &cut in cuts {
        assembler.feed(Batch { entries: rest.by_ref().take(cut).collect(), drained_below: None });
        events.extend(assembler.poll_all());
    }
    assembler.feed(Batch { entries: rest.collect(), drained_below: Some(numbered) });
    events.extend(assembler.poll_all());
    events
}

prop_compose! {
    fn plan()(plan in vec((prop_oneof![4 => Just(0usize), 1 => 1usize..4], any::<bool>()), 1..40)) -> Vec<(usize, bool)> { plan }
}

proptest! {
    #[test]
    fn any_interleaving_of_two_cpus_comes_out_in_order(plan in plan(), turns in vec(any::<bool>(), 0..200), cuts in vec(0usize..9, 0..20)) {
        let (cpus, log) = two_cpus(&plan);
        let events = assemble(interleave(cpus, &turns), &cuts, log.len() as u64);
        prop_assert_eq!(events, log.into_iter().map(Event::Record).collect::<Vec<_>>());
    }

    #[test]
    fn any_entry_that_is_missing_ends_the_log_where_it_belongs(
        plan in plan(), turns in vec(any::<bool>(), 0..200), cuts in vec(0usize..9, 0..20), victim in any::<Index>()
    ) {
        let (cpus, log) = two_cpus(&plan);
        let mut ring = interleave(cpus, &turns);
        let lost = ring.remove(victim.index(ring.len())).head.seq;
        let events = assemble(ring, &cuts, log.len() as u64);
        let (last, before) = events.split_last().unwrap();
        prop_assert!(matches!(last, Event::Gap { at_seq, .. } if *at_seq == lost), "{last:?}, lost {lost}");
        let expected: Vec<_> = log.into_iter().take(usize::try_from(lost).unwrap()).map(Event::Record).collect();
        prop_assert_eq!(before, expected);
    }
}

#[test]
fn a_late_record_is_waited_for_and_a_lost_one_is_not() {
    let mut assembler = Assembler::new();
    assembler.feed(Batch { entries: vec![record(1, b"")], drained_below: None });
    assert_eq!(assembler.poll(), None);
    assembler.feed(Batch { entries: vec![record(0, b"")], drained_below: Some(1) });
    assert_eq!(assembler.poll_all(), [Event::Record(record(0, b"")), Event::Record(record(1, b""))]);
    assembler.feed(Batch { entries: vec![], drained_below: Some(3) });
    assert_eq!(assembler.poll(), Some(Event::Gap { at_seq: 2, why: GapReason::Lost }));
    assembler.feed(Batch { entries: vec![record(2, b"")], drained_below: Some(3) });
    assert_eq!(assembler.poll(), None, "nothing comes out behind a gap");
}

#[test]
fn a_record_that_could_not_be_read_whole_ends_the_log() {
    for (flag, why) in [(flags::FAULT, GapReason::Fault), (flags::TOO_LARGE, GapReason::TooLarge)] {
        let mut bad = record(0, b"half");
        bad.head.flags = flag;
        assert_eq!(assemble(vec![bad, record(1, b"")], &[], 2), [Event::Gap { at_seq: 0, why }]);
        let (mut pieces, _) = entries(0, 2);
        pieces[2].head.flags |= flag;
        assert_eq!(assemble(pieces, &[], 1), [Event::Gap { at_seq: 0, why }]);
    }
}

#[test]
fn a_record_numbered_twice_ends_the_log() {
    let events = assemble(vec![record(0, b""), record(0, b"")], &[], 1);
    assert_eq!(events, [Event::Gap { at_seq: 0, why: GapReason::Twice }]);
    let events = assemble(vec![record(0, b""), record(0, b"")], &[1], 1);
    assert_eq!(events, [Event::Record(record(0, b"")), Event::Gap { at_seq: 1, why: GapReason::Twice }]);
}

fn exec(seq: u64, host_tid: u32) -> Record {
    let mut exec = record(seq, b"");
    exec.head.kind = Kind::Exec as u8;
    exec.head.host_tid = host_tid;
    exec
}

fn image(text: &[u8]) -> Record {
    let mut image = record(99, text);
    image.head.kind = Kind::Image as u8;
    image
}

#[test]
fn an_exec_waits_for_its_image_which_stands_behind_it() {
    let mut assembler = Assembler::new();
    assembler.feed(Batch { entries: vec![exec(0, 10), record(1, b""), exec(2, 10), exec(3, 11)], drained_below: Some(4) });
    assert_eq!((assembler.poll(), assembler.waits_for_image()), (None, Some(10)));
    assembler.supply_image(11, image(b"eleven"));
    assembler.supply_image(10, image(b"ten, first"));
    assembler.supply_image(10, image(b"ten, second"));
    let seen: Vec<_> = assembler.poll_all();
    let seen: Vec<_> = seen
        .iter()
        .map(|event| match event {
            Event::Record(record) => {
                (record.head.kind, record.head.seq, record.head.host_tid, record.segments().next().map(|s| s.bytes))
            }
            Event::Gap { .. } => panic!("{event:?}"),
        })
        .collect();
    let (exec, image, call) = (Kind::Exec as u8, Kind::Image as u8, Kind::Syscall as u8);
    assert_eq!(
        seen,
        [
            (exec, 0, 10, None),
            (image, 0, 10, Some(&b"ten, first"[..])),
            (call, 1, 4711, None),
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
    assembler.feed(Batch { entries: vec![exec(0, 10), record(1, b"")], drained_below: None });
    assembler.no_image(10);
    assert_eq!(assembler.poll_all(), [Event::Record(exec(0, 10)), Event::Record(record(1, b""))]);
}

#[test]
fn a_log_does_not_hold_the_hosts_numbers() {
    let head = for_log(record(5, b"")).head;
    assert_eq!((head.slot, head.host_tid, head.tid, head.seq), (0, 0, 7, 5));
}
