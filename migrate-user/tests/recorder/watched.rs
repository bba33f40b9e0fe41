//! A guest that is watched: every entry of the ring is taken out and counted, nothing else is done with it.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use migrate::probe::{Mode, Options, Recorder, TallyRow, Watch};
use migrate::record::RecordRef;
use migrate::sys::bpf_ring::RingReader;
use migrate_common::maps::{Counters, Place};
use migrate_common::record::Kind;
use migrate_common::syscalls::{Group, GroupSet};

use crate::container::{Cgroup, start, unable};

const RING_BYTES: u32 = 64 << 20;

/// What came out of the ring.
#[derive(Debug, Default)]
pub struct Taken {
    pub records: u64,
    /// Records and payload bytes by group.
    pub groups: HashMap<Group, (u64, u64)>,
    /// A bit for each number that has come.
    seen: Vec<u64>,
    pub twice: u64,
}

/// What a watched guest left behind.
#[derive(Debug)]
pub struct Outcome {
    pub counters: Counters,
    pub tallies: Vec<TallyRow>,
    pub taken: Taken,
}

impl Taken {
    fn take(&mut self, entry: RecordRef<'_>) {
        let bytes: usize = entry.segments().map(|segment| if segment.addr == 0 { 0 } else { segment.bytes.len() }).sum();
        if entry.kind() == Some(Kind::Piece) {
            return;
        }
        self.records += 1;
        let group = self.groups.entry(Group::of_record(&entry.head)).or_default();
        group.0 += 1;
        group.1 += bytes as u64;
        let (word, bit) = ((entry.head.seq / 64) as usize, entry.head.seq % 64);
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.twice += self.seen[word] >> bit & 1;
        self.seen[word] |= 1 << bit;
    }

    /// Whether the numbers from 0 to below `end` have come, and no other.
    pub fn is_all_below(&self, end: u64) -> bool {
        let whole = (end / 64) as usize;
        let last = self.seen.get(whole).copied().unwrap_or(0);
        self.seen.iter().take(whole).all(|&word| word == u64::MAX)
            && last == (1 << (end % 64)) - 1
            && self.seen.len() <= whole + 1
    }
}

/// Runs a guest to its end.
pub fn run(guest: &str, mode: Mode, groups: GroupSet) -> Outcome {
    let recorder = Recorder::load(Options { ring_bytes: RING_BYTES, ..Options::default() }).unwrap();
    let ring = recorder.take_ring().unwrap();
    let cgroup = Cgroup::new();
    let slot = recorder.watch(&[cgroup.id()], Watch { mode, groups }).unwrap();
    let freeze = cgroup.path().join("cgroup.freeze");
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let reader =
        std::thread::spawn(move || drain(ring, &is_over, &|frozen| fs::write(&freeze, if frozen { "1" } else { "0" }).unwrap()));
    let status = start(guest, &cgroup).wait_with_output().unwrap().status;
    assert!(status.success(), "{guest}: {status}");
    let counted = recorder.counters(slot).unwrap();
    recorder.remove(slot).unwrap();
    over.store(true, Ordering::Release);
    let taken = reader.join().unwrap();
    let (counters, tallies) = (recorder.counters(slot).unwrap(), recorder.tallies(slot).unwrap());
    assert_eq!((counted, recorder.missed_runs().unwrap()), (counters, 0), "nothing runs for a guest that has ended");
    Outcome { counters, tallies, taken }
}

/// Takes entries out until the guest is over, and holds it while the ring is more than half full.
fn drain(mut ring: RingReader, over: &AtomicBool, freeze: &dyn Fn(bool)) -> Taken {
    let mut taken = Taken::default();
    let mut frozen = false;
    loop {
        let last = over.load(Ordering::Acquire);
        let waiting = ring.waiting();
        if frozen != (waiting > u64::from(RING_BYTES) / if frozen { 8 } else { 2 }) {
            frozen = !frozen;
            freeze(frozen);
        }
        let bytes = ring.take(1 << 20, |bytes| taken.take(RecordRef::parse(bytes).unwrap().0));
        match (bytes, last) {
            (0, true) => return taken,
            (0, false) => std::thread::sleep(std::time::Duration::from_millis(1)),
            _ => {}
        }
    }
}

impl Outcome {
    /// Events and bytes by group, as they were tallied.
    pub fn tallied(&self) -> HashMap<Group, (u64, u64)> {
        let mut groups = HashMap::<Group, (u64, u64)>::new();
        for row in &self.tallies {
            let group = groups.entry(row.group).or_default();
            group.0 += row.events;
            group.1 += row.bytes;
        }
        groups
    }

    /// Fails unless nothing is missing anywhere between the programs and here.
    pub fn reconciled(self) -> Self {
        let Counters { seq, seen, emitted, too_large, ring_full, .. } = self.counters;
        assert_eq!((seen, seen), (seq, emitted + too_large + ring_full), "{:?}", self.counters);
        assert_eq!((self.taken.records, ring_full, self.taken.twice), (seq, 0, 0), "{:?}", self.counters);
        assert!(self.taken.is_all_below(seq));
        self
    }
}

/// Records of a slot, after a guest has run in a cgroup.
fn seen_after(recorder: &Recorder, cgroup: &Cgroup, slot: u32) -> u64 {
    let status = start("calls", cgroup).wait_with_output().unwrap().status;
    assert!(status.success(), "{status}");
    recorder.counters(slot).unwrap().seen
}

#[test]
fn cgroups_that_share_a_place_are_told_apart() {
    if let Some(why) = unable() {
        eprintln!("skipped: {why}");
        return;
    }
    let recorder = Recorder::load(Options::default()).unwrap();
    let first = Cgroup::new();
    let mut between = Vec::new();
    let second = loop {
        let other = Cgroup::new();
        if Place::of(other.id()) == Place::of(first.id()) {
            break other;
        }
        between.push(other);
    };
    let all = Watch { mode: Mode::Capture, groups: GroupSet::ALL };
    let [one, two] = [&first, &second].map(|cgroup| recorder.watch(&[cgroup.id()], all).unwrap());
    let of_one = seen_after(&recorder, &first, one);
    let of_two = seen_after(&recorder, &second, two);
    assert!(of_one > 0 && of_two > 0);
    assert_eq!(recorder.counters(one).unwrap().seen, of_one, "the other's are not its own");
    // Nobody has the place now, and the second is found all the same; the first is not.
    recorder.remove(one).unwrap();
    assert_eq!(seen_after(&recorder, &first, one), of_one);
    assert_eq!(seen_after(&recorder, &second, two), 2 * of_two);
    recorder.remove(two).unwrap();
    let again = recorder.watch(&[first.id()], all).unwrap();
    assert_eq!(seen_after(&recorder, &first, again), of_one);
    drop(between);
}
