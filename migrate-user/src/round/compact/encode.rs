//! Records to bytes.

use migrate_common::record::{Header, Kind};

use super::context::{self, Context, Contexts, FoldMap, Key, Lanes, What};
use super::segment::{self, Piece, Pieces, addr, content, length};
use super::varint::{delta, len, put, zigzag};
use super::{Streams, new, op};
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
        put(&mut self.out.times, head.time_ns.wrapping_sub(self.time_ns));
        self.time_ns = head.time_ns;
        let Self { out, contexts, history, .. } = self;
        let context = contexts.get_mut(n);
        if context.args != head.args {
            bits |= op::ARGS;
            args(out, context, &head.args);
        }
        bits |= ret(out, context, head) << op::RET;
        bits |= payload(out, history, context, head, record.payload) << op::PAYLOAD;
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
        bytes.reserve(self.out.len() + 3 * super::varint::MAX_BYTES);
        let streams = self.out.all();
        for stream in &streams[..3] {
            put(bytes, stream.len() as u64);
        }
        for stream in streams {
            bytes.extend_from_slice(stream);
            stream.clear();
        }
        self.forget();
        self.lanes.clear();
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
        let Key { lane, what, .. } = key;
        let any = self.alike.get(&(u32::MAX, what)).copied();
        let parent = self.alike.get(&(lane, what)).copied().or(any);
        let numbers = &mut self.out.numbers;
        put(numbers, parent.map_or(0, |n| u64::from(n) + 1));
        let inherited = parent.map_or_else(Key::default, |n| self.keys[n as usize]);
        let mut differs = 0;
        if inherited.what.traits != what.traits {
            differs |= new::TRAITS;
            put(numbers, what.traits.into());
        }
        if inherited.what.nr != what.nr {
            differs |= new::NR;
            put(numbers, zigzag(what.nr.into()));
        }
        if inherited.lane != lane {
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

/// Which have changed, which of these are told by their values, and these.
fn args(out: &mut Streams, context: &mut Context<Span>, args: &[u64; 6]) {
    let (mut changed, mut values) = (0, 0);
    for (i, (old, &new)) in context.args.iter_mut().zip(args).enumerate() {
        if *old == new {
            continue;
        }
        changed |= 1 << i;
        let (value, delta) = (zigzag(new.cast_signed()), delta(new, *old));
        // Where both are as short, a value: it stays the same when it comes again.
        if len(value) <= len(delta) {
            values |= 1 << i;
            put(&mut out.numbers, value);
        } else {
            put(&mut out.numbers, delta);
        }
        *old = new;
    }
    out.ops.extend_from_slice(&[changed, values]);
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

#[inline]
fn payload(out: &mut Streams, history: &mut Vec<u8>, context: &mut Context<Span>, head: &Header, payload: &[u8]) -> u8 {
    let Span { start, len } = context.payload;
    if payload == &history[start..start + len] {
        return op::PAYLOAD_SAME;
    }
    // What the call gave before is kept: it is likely to be like what it gives next.
    if payload.is_empty() {
        return op::PAYLOAD_EMPTY;
    }
    let form = match segment::count(payload) {
        Some(n) => segments(out, &history[start..start + len], context, head, payload, n),
        None => {
            put(&mut out.numbers, payload.len() as u64);
            out.bytes.extend_from_slice(payload);
            op::PAYLOAD_RAW
        }
    };
    context.payload = Span { start: history.len(), len: payload.len() };
    history.extend_from_slice(payload);
    form
}

fn segments(out: &mut Streams, old: &[u8], context: &mut Context<Span>, head: &Header, payload: &[u8], n: usize) -> u8 {
    let mut old = Pieces(old);
    let (mut codes, mut end) = (0u64, head.args[1]);
    let few = n <= segment::REMEMBERED;
    if !few {
        put(&mut out.numbers, n as u64);
    }
    for (i, piece) in Pieces(payload).enumerate() {
        let before = old.next();
        let hint = if few { (context.codes >> (8 * i)) as u8 } else { 0 };
        let code = place(out, head, before, piece, hint, end) | segment::code(0, 0, fill(out, context, head, before, piece));
        end = piece.addr.wrapping_add(piece.bytes.len() as u64);
        if few {
            codes |= u64::from(code) << (8 * i);
        } else {
            out.ops.push(code);
        }
    }
    if !few {
        (context.codes, context.segments) = (0, 0);
        return op::PAYLOAD_MANY;
    }
    if (context.codes, context.segments) == (codes, n as u8) {
        return op::PAYLOAD_REPEATED;
    }
    (context.codes, context.segments) = (codes, n as u8);
    out.ops.push(n as u8);
    out.ops.extend_from_slice(&codes.to_le_bytes()[..n]);
    op::PAYLOAD_CODED
}

/// Address and length: as `hint` says, if that holds.
fn place(out: &mut Streams, head: &Header, before: Option<Piece<'_>>, piece: Piece<'_>, hint: u8, end: u64) -> u8 {
    let same = before.is_some_and(|before| before.addr == piece.addr);
    let holds = |code: u8| match code {
        addr::SAME => same,
        addr::DELTA => false,
        arg => head.args[usize::from(arg)] == piece.addr,
    };
    let hinted = segment::addr_of(hint);
    let from = if holds(hinted) { hinted } else { (0..addr::DELTA).find(|&code| holds(code)).unwrap_or(addr::DELTA) };
    if from == addr::DELTA {
        put(&mut out.numbers, delta(piece.addr, before.map_or(end, |before| before.addr)));
    }
    let len = piece.bytes.len() as u64;
    let holds = |code: u8| match code {
        length::RET => head.ret.cast_unsigned() == len,
        length::SAME => before.is_some_and(|before| before.bytes.len() as u64 == len),
        length::EVENTS => head.ret.cast_unsigned().wrapping_mul(length::EVENT_BYTES) == len,
        _ => false,
    };
    let hinted = segment::length_of(hint);
    let by = match hinted {
        hinted if holds(hinted) => hinted,
        _ => [length::RET, length::SAME, length::EVENTS].into_iter().find(|&code| holds(code)).unwrap_or(length::VALUE),
    };
    if by == length::VALUE {
        put(&mut out.numbers, len);
    }
    segment::code(from, by, 0)
}

/// A segment's bytes: how they are told.
fn fill(out: &mut Streams, context: &mut Context<Span>, head: &Header, before: Option<Piece<'_>>, piece: Piece<'_>) -> u8 {
    let new = piece.bytes;
    let old = before.map_or(&[][..], |before| before.bytes);
    if before.is_some() && old == new {
        return content::SAME;
    }
    if let Some(unit) = segment::clock_unit(context.what)
        && let Some(reading) = segment::reading(new, unit)
    {
        put(&mut out.numbers, delta(reading, context.clock.guess(head.time_ns, unit)));
        context.clock.visit(head.time_ns, unit, reading);
        return content::CLOCK;
    }
    if let Some(number) = segment::word(new) {
        put(&mut out.numbers, delta(number, segment::next_word(old, piece.addr, head.ret)));
        return content::NUMBER;
    }
    super::patch::put(out, old, new)
}
