//! What encoder and decoder both remember of the records before: each step here is taken by both, in the same order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use migrate_common::record::{Header, Kind};

/// How many contexts are kept; with one more all are forgotten. Bounds memory, and is far above what a chunk of a server has.
const MAX_CONTEXTS: usize = 1 << 15;
/// First arguments below this tell calls apart: descriptors, clock ids. Above lie addresses, of which there is no end.
const MAX_SELECTOR: u64 = 4096;
/// How many values of arguments are kept at hand.
const VALUES: usize = 256;
/// Entries of the table that guesses the next context.
const GUESSES: usize = 4096;

/// What a record is, beside its numbers: `kind | class << 8 | flags << 16 | nr << 32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct What(u64);

impl What {
    pub(super) const fn of(head: &Header) -> Self {
        let traits = head.kind as u32 | (head.class as u32) << 8 | (head.flags as u32) << 16;
        Self::new(traits, head.nr)
    }

    pub(super) const fn new(traits: u32, nr: i32) -> Self {
        Self(traits as u64 | (nr.cast_unsigned() as u64) << 32)
    }

    /// Kind, class and flags.
    pub(super) const fn traits(self) -> u32 {
        self.0 as u32
    }

    pub(super) const fn nr(self) -> i32 {
        ((self.0 >> 32) as u32).cast_signed()
    }

    pub(super) const fn kind(self) -> u8 {
        self.0 as u8
    }

    pub(super) const fn class(self) -> u8 {
        (self.0 >> 8) as u8
    }

    pub(super) const fn flags(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// Which records are alike: of the same task, the same call, on the same descriptor, with the same outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// `selector | outcome << 16 | lane << 32`: the first argument if it selects, and whether the call failed, had nothing or
    /// had something to give.
    who: u64,
    pub(super) what: What,
}

impl Key {
    pub(super) const fn new(lane: u32, what: What, first_arg: u64, ret: i64) -> Self {
        let selector = if first_arg < MAX_SELECTOR { first_arg } else { MAX_SELECTOR };
        Self { who: selector | (ret.signum() as u64 & 3) << 16 | (lane as u64) << 32, what }
    }

    pub(super) const fn lane(self) -> u32 {
        (self.who >> 32) as u32
    }
}

/// The last reading of a clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// In the unit that the call has.
    pub(super) reading: u64,
    /// From the record's own time to the reading.
    pub(super) offset: u64,
    /// Whether the offset foretold the last reading worse than the reading before did: a clock that ticks seldom.
    pub(super) coarse: bool,
}

/// The last record of its [`Key`]. `P` is where its payload is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Context<P> {
    pub(super) what: What,
    pub(super) lane: u32,
    pub(super) args: [u64; 6],
    pub(super) ret: i64,
    pub(super) payload: P,
    /// How its segments were coded, the first in the lowest byte, and how many they were; none where they were too many.
    pub(super) codes: u64,
    pub(super) segments: u8,
    pub(super) clock: Clock,
    /// How long after the record before its records are expected.
    pub(super) step_ns: u64,
}

/// The most by which one record moves what is expected of the next: a wait, or another task between, says little of it.
const MAX_DRIFT_NS: i64 = 128;

impl<P> Context<P> {
    /// Half-way to what it was, but not far: the middle of what is usual.
    pub(super) fn took(&mut self, step_ns: u64) {
        let off = step_ns.wrapping_sub(self.step_ns).cast_signed();
        self.step_ns = self.step_ns.wrapping_add((off / 2).clamp(-MAX_DRIFT_NS, MAX_DRIFT_NS).cast_unsigned());
    }
}

/// Multiplies and folds: keys are a few small numbers, and no peer chooses what hashes badly for long within
/// [`MAX_CONTEXTS`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_i32(&mut self, value: i32) {
        self.write_u64(value.cast_unsigned().into());
    }

    fn write_u64(&mut self, value: u64) {
        let wide = u128::from(self.0 ^ value ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }
}

pub(super) type FoldMap<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;

/// Tasks by *lane*: the lowest number that no living task has. A shell's next pipeline has the lanes of the one before, and so
/// its contexts.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    /// The task of each lane; of a free one the last that had it.
    tids: Vec<u32>,
    free: BinaryHeap<Reverse<u32>>,
    /// The task that was given a lane last.
    pub(super) newest: u32,
}

impl Lanes {
    /// Gives a task a lane.
    pub(super) fn open(&mut self, tid: u32) -> u32 {
        self.newest = tid;
        if let Some(Reverse(lane)) = self.free.pop() {
            self.tids[lane as usize] = tid;
            return lane;
        }
        self.tids.push(tid);
        (self.tids.len() - 1) as u32
    }

    /// The task has ended.
    pub(super) fn close(&mut self, lane: u32) {
        self.free.push(Reverse(lane));
    }

    pub(super) fn tid(&self, lane: u32) -> Option<u32> {
        self.tids.get(lane as usize).copied()
    }

    pub(super) fn clear(&mut self) {
        self.tids.clear();
        self.free.clear();
        self.newest = 0;
    }
}

/// Values of arguments that came up, each in the place that its hash gives: what a register holds comes back.
#[derive(Clone, Debug)]
pub(super) struct Values(Box<[u64; VALUES]>);

impl Values {
    pub(super) fn new() -> Self {
        Self(Box::new([0; VALUES]))
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Where `value` belongs, and whether it is there already. It is, afterwards.
    pub(super) fn visit(&mut self, value: u64) -> (u8, bool) {
        let place = (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        let kept = &mut self.0[usize::from(place)];
        (place, std::mem::replace(kept, value) == value)
    }

    pub(super) fn at(&self, place: u8) -> u64 {
        self.0[usize::from(place)]
    }
}

/// All contexts of a chunk, numbered as they came up, and the guess which is next.
#[derive(Clone, Debug)]
pub(super) struct Contexts<P> {
    all: Vec<Context<P>>,
    /// The context that followed two others, by a hash of both; one more than its number.
    guesses: Box<[u32; GUESSES]>,
    last: [u32; 2],
}

impl<P: Clone + Default> Contexts<P> {
    pub(super) fn new() -> Self {
        Self { all: Vec::new(), guesses: Box::new([0; GUESSES]), last: [0; 2] }
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.guesses.fill(0);
        self.last = [0; 2];
    }

    fn slot(&self) -> usize {
        let [a, b] = self.last;
        ((a.wrapping_mul(0x9e37_79b1) ^ b.wrapping_mul(0x85eb_ca6b)) >> 20) as usize
    }

    /// The context that is expected next.
    pub(super) fn guess(&self) -> Option<u32> {
        self.guesses[self.slot()].checked_sub(1)
    }

    /// Context `n` came up.
    pub(super) fn visit(&mut self, n: u32) {
        let slot = self.slot();
        self.guesses[slot] = n + 1;
        self.last = [n + 1, self.last[0]];
    }

    /// Whether a new context would be one too many.
    pub(super) const fn is_full(&self) -> bool {
        self.all.len() == MAX_CONTEXTS
    }

    /// A new context that begins as a copy of `parent`.
    pub(super) fn open(&mut self, parent: Option<u32>, lane: u32, what: What) -> u32 {
        let parent = parent.and_then(|n| self.get(n)).cloned().unwrap_or_default();
        self.all.push(Context { lane, what, ..parent });
        (self.all.len() - 1) as u32
    }

    pub(super) fn get(&self, n: u32) -> Option<&Context<P>> {
        self.all.get(n as usize)
    }

    /// A context that is there.
    pub(super) fn get_mut(&mut self, n: u32) -> &mut Context<P> {
        &mut self.all[n as usize]
    }
}

/// The number of a record when the records are whole: `next`, or that of its exec for an image.
pub(super) const fn expected_seq(what: What, next: u64) -> u64 {
    if what.kind() == Kind::Image as u8 { next.wrapping_sub(1) } else { next }
}
