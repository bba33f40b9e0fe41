//! Records to bytes.

mod payload;

use migrate_common::record::{Header, Kind};

use super::context::{self, Context, Contexts, FoldMap, Key, Lanes, Values, What};
use super::varint::{delta, len, put, zigzag};
use super::{STREAMS, Streams, arg, new, op};
use crate::record::RecordRef;

/// Where in the encoder's history a payload stands.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    len: usize,
}

/// Collects records and gives their encoding. Allocates nothing once it has grown to the size of its chunks.
#[derive(Debug)]
pub struct Encoder {
    out: Streams,
    contexts: Contexts<Span>,
    lanes: Lanes,
    values: Values,
    /// Payloads that were not repetitions, one after the other.
    history: Vec<u8>,
    known: FoldMap<Key, u32>,
    /// The keys of the contexts.
    keys: Vec<Key>,
    /// The newest context of each call in each task, and in any.
    alike: FoldMap<(u32, What), u32>,
    lane_of: FoldMap<u32, u32>,
    /// The task of the record before and its lane.
    task: Option<(u32, u32)>,
    next_seq: u64,
    time_ns: u64,
    records: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    #[must_use]
    pub fn new() -> Self {
        Self {
            out: Streams::default(),
            contexts: Contexts::new(),
            lanes: Lanes::default(),
            values: Values::new(),
            history: Vec::new(),
            known: FoldMap::default(),
            keys: Vec::new(),
            alike: FoldMap::default(),
            lane_of: FoldMap::default(),
            task: None,
            next_seq: 0,
            time_ns: 0,
            records: 0,
        }
    }

    /// Adds a record. Its `len` is taken from its payload; `slot` and `host_tid` are not encoded. Any `seq` and `time_ns` will
    /// do, but ascending ones are short.
    pub fn push(&mut self, record: RecordRef<'_>) {
        let head = &record.head;
        let what = What::of(head);
        let at = self.out.ops.len();
        self.out.ops.push(0);
        let (n, mut bits) = self.choose(head, what);
        self.contexts.visit(n);
        if head.seq != context::expected_seq(what, self.next_seq) {
            bits |= op::SEQ;
            put(&mut self.out.numbers, delta(head.seq, self.next_seq));
        }
        self.next_seq = head.seq.wrapping_add(1);
        let step_ns = head.time_ns.wrapping_sub(self.time_ns);
        self.time_ns = head.time_ns;
        let Self { out, contexts, history, values, .. } = self;
        let context = contexts.get_mut(n);
        put(&mut out.times, delta(step_ns, context.step_ns));
        context.took(step_ns);
        if context.args != head.args {
            bits |= op::ARGS;
            args(out, values, context, &head.args);
        }
        bits |= ret(out, context, head) << op::RET;
        bits |= payload::put(out, history, context, head, record.payload) << op::PAYLOAD;
        self.out.ops[at] = bits;
        self.records += 1;
        if what.kind() == Kind::Exit as u8 {
            self.end_task(head.tid);
        }
    }

    /// Records since the encoding was taken.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of their encoding.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        self.out.len()
    }

    /// The encoding of what was pushed; the next record begins another, which can be decoded without this one.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.take_into(&mut bytes);
        bytes
    }

    /// As [`Self::take`], into a buffer whose contents are replaced.
    pub fn take_into(&mut self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.reserve(self.out.len() + STREAMS * super::varint::MAX_BYTES);
        let streams = self.out.all();
        for stream in &streams[..STREAMS - 1] {
            put(bytes, stream.len() as u64);
        }
        for stream in streams {
            bytes.extend_from_slice(stream);
            stream.clear();
        }
        self.forget();
        self.lanes.clear();
        self.values.clear();
        self.lane_of.clear();
        self.history.clear();
        (self.task, self.next_seq, self.time_ns, self.records) = (None, 0, 0, 0);
    }

    fn forget(&mut self) {
        self.contexts.clear();
        self.known.clear();
        self.keys.clear();
        self.alike.clear();
    }

    /// The record's context, and the op's bits for it.
    #[inline]
    fn choose(&mut self, head: &Header, what: What) -> (u32, u8) {
        let known_lane = match self.task {
            Some((tid, lane)) if tid == head.tid => Some(lane),
            _ => self.lane_of.get(&head.tid).copied(),
        };
        let Some(lane) = known_lane else {
            return (self.choose_new_task(head, what), op::CHOSEN);
        };
        self.task = Some((head.tid, lane));
        let key = Key::new(lane, what, head.args[0], head.ret);
        let guess = self.contexts.guess();
        match guess {
            Some(guess) if self.keys[guess as usize] == key => (guess, 0),
            _ => (self.choose_other(key, guess), op::CHOSEN),
        }
    }

    #[cold]
    fn choose_new_task(&mut self, head: &Header, what: What) -> u32 {
        put(&mut self.out.numbers, 0);
        put(&mut self.out.numbers, delta(head.tid.into(), self.lanes.newest.into()));
        let lane = self.lanes.open(head.tid);
        self.lane_of.insert(head.tid, lane);
        self.task = Some((head.tid, lane));
        self.choose_other(Key::new(lane, what, head.args[0], head.ret), self.contexts.guess())
    }

    /// `0` the guess, `1` a new context, else its number and two.
    fn choose_other(&mut self, key: Key, guess: Option<u32>) -> u32 {
        let Some(&n) = self.known.get(&key) else {
            put(&mut self.out.numbers, 1);
            return self.open(key);
        };
        put(&mut self.out.numbers, if guess == Some(n) { 0 } else { u64::from(n) + 2 });
        n
    }

    fn open(&mut self, key: Key) -> u32 {
        if self.contexts.is_full() {
            self.forget();
        }
        let (lane, what) = (key.lane(), key.what);
        let any = self.alike.get(&(u32::MAX, what)).copied();
        let parent = self.alike.get(&(lane, what)).copied().or(any);
        let numbers = &mut self.out.numbers;
        put(numbers, parent.map_or(0, |n| u64::from(n) + 1));
        let inherited = parent.map_or_else(Key::default, |n| self.keys[n as usize]);
        let mut differs = 0;
        if inherited.what.traits() != what.traits() {
            differs |= new::TRAITS;
            put(numbers, what.traits().into());
        }
        if inherited.what.nr() != what.nr() {
            differs |= new::NR;
            put(numbers, zigzag(what.nr().into()));
        }
        if inherited.lane() != lane {
            differs |= new::LANE;
            put(numbers, lane.into());
        }
        self.out.ops.push(differs);
        let n = self.contexts.open(parent, lane, what);
        self.keys.push(key);
        self.known.insert(key, n);
        self.alike.insert((lane, what), n);
        self.alike.insert((u32::MAX, what), n);
        n
    }

    #[cold]
    fn end_task(&mut self, tid: u32) {
        self.task = None;
        if let Some(lane) = self.lane_of.remove(&tid) {
            self.lanes.close(lane);
        }
    }
}

/// Two bits for each, and those that have changed.
fn args(out: &mut Streams, values: &mut Values, context: &mut Context<Span>, args: &[u64; 6]) {
    let mut codes = 0u16;
    for (i, (old, &new)) in context.args.iter_mut().zip(args).enumerate() {
        if *old == new {
            continue;
        }
        let (value, delta) = (zigzag(new.cast_signed()), delta(new, *old));
        let (value_len, delta_len) = (len(value), len(delta));
        let (place, kept) = if value_len > 2 { values.visit(new) } else { (0, false) };
        let code = if kept && delta_len > 2 {
            out.numbers.push(place);
            arg::KEPT
        } else if value_len <= delta_len {
            // Where both are as short, a value: it stays the same when it comes again.
            put(&mut out.numbers, value);
            arg::VALUE
        } else {
            put(&mut out.numbers, delta);
            arg::DELTA
        };
        codes |= code << (2 * i);
        *old = new;
    }
    out.ops.extend_from_slice(&codes.to_le_bytes());
}

#[inline]
fn ret(out: &mut Streams, context: &mut Context<Span>, head: &Header) -> u8 {
    let old = std::mem::replace(&mut context.ret, head.ret);
    if old == head.ret {
        return op::RET_SAME;
    }
    if head.ret == head.args[2].cast_signed() {
        return op::RET_COUNT;
    }
    let (value, delta) = (zigzag(head.ret), delta(head.ret.cast_unsigned(), old.cast_unsigned()));
    if len(value) <= len(delta) {
        put(&mut out.numbers, value);
        return op::RET_VALUE;
    }
    put(&mut out.numbers, delta);
    op::RET_DELTA
}
