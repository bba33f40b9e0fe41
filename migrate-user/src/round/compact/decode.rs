//! Bytes to records.

use migrate_common::record::{Class, HEADER_BYTES, Header, Kind, SEGMENT_BYTES, padded};

use super::context::{self, Contexts, Lanes, What};
use super::segment::{self, Piece, Pieces, addr, content, length};
use super::varint::{Reader, undelta, unzigzag};
use super::{CompactError, new, op, patch};
use crate::record::Record;

/// The records that an [`Encoder`](super::Encoder) was given, if they have no more than `limit` bytes of headers and payloads, which
/// bounds what is allocated too.
///
/// # Errors
/// [`CompactError`] for bytes that no encoder makes. Some of these decode all the same: a chunk's checksum tells them.
pub fn decode(bytes: &[u8], limit: usize) -> Result<Vec<Record>, CompactError> {
    let mut decoder = Decoder::new(bytes, limit)?;
    let mut records = Vec::with_capacity(decoder.ops.0.len().min(limit / HEADER_BYTES));
    while !decoder.ops.is_empty() {
        let record = decoder.record(&records)?;
        records.push(record);
    }
    if [&decoder.numbers, &decoder.times, &decoder.bytes].iter().all(|stream| stream.is_empty()) {
        return Ok(records);
    }
    Err(CompactError::Trailing)
}

struct Decoder<'a> {
    ops: Reader<'a>,
    numbers: Reader<'a>,
    times: Reader<'a>,
    bytes: Reader<'a>,
    /// A context's payload is that of the record with this number, and one.
    contexts: Contexts<usize>,
    lanes: Lanes,
    next_seq: u64,
    time_ns: u64,
    /// Bytes that the records may still have, out of so many.
    left: usize,
    limit: usize,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], limit: usize) -> Result<Self, CompactError> {
        let mut rest = Reader(bytes);
        let (ops, numbers, times) = (rest.number()?, rest.number()?, rest.number()?);
        Ok(Self {
            ops: Reader(rest.bytes(ops)?),
            numbers: Reader(rest.bytes(numbers)?),
            times: Reader(rest.bytes(times)?),
            bytes: rest,
            contexts: Contexts::new(),
            lanes: Lanes::default(),
            next_seq: 0,
            time_ns: 0,
            left: limit,
            limit,
        })
    }

    fn spend(&mut self, bytes: usize) -> Result<(), CompactError> {
        self.left = self.left.checked_sub(bytes).ok_or(CompactError::Size { limit: self.limit })?;
        Ok(())
    }

    fn record(&mut self, before: &[Record]) -> Result<Record, CompactError> {
        self.spend(HEADER_BYTES)?;
        let bits = self.ops.byte()?;
        let n = self.choose(bits)?;
        let what = self.contexts.get(n).ok_or(CompactError::Reference(n.into()))?.what;
        self.contexts.visit(n);
        let seq = match bits & op::SEQ {
            0 => context::expected_seq(what, self.next_seq),
            _ => undelta(self.numbers.varint()?, self.next_seq),
        };
        self.next_seq = seq.wrapping_add(1);
        self.time_ns = self.time_ns.wrapping_add(self.times.varint()?);
        let context = self.contexts.get_mut(n);
        let tid = self.lanes.tid(context.lane).ok_or(CompactError::Reference(context.lane.into()))?;
        if bits & op::ARGS != 0 {
            let (changed, values) = (self.ops.byte()?, self.ops.byte()?);
            for (i, arg) in context.args.iter_mut().enumerate().filter(|(i, _)| changed >> i & 1 != 0) {
                let number = self.numbers.varint()?;
                *arg = if values >> i & 1 != 0 { unzigzag(number).cast_unsigned() } else { undelta(number, *arg) };
            }
        }
        context.ret = match bits >> op::RET & 3 {
            op::RET_SAME => context.ret,
            op::RET_COUNT => context.args[2].cast_signed(),
            op::RET_VALUE => unzigzag(self.numbers.varint()?),
            _ => undelta(self.numbers.varint()?, context.ret.cast_unsigned()).cast_signed(),
        };
        let mut head = Header {
            len: HEADER_BYTES as u32,
            kind: what.kind(),
            class: what.class(),
            flags: what.flags(),
            tid,
            seq,
            time_ns: self.time_ns,
            nr: what.nr,
            ret: context.ret,
            args: context.args,
            ..Header::default()
        };
        let lane = context.lane;
        let old = context.payload.checked_sub(1).map_or(&[][..], |n| &before[n].payload);
        let payload = self.payload(n, &head, bits >> op::PAYLOAD & 7, old, before.len())?;
        head.len = u32::try_from(HEADER_BYTES + payload.len()).map_err(|_| CompactError::Number)?;
        if what.kind() == Kind::Exit as u8 {
            self.lanes.close(lane);
        }
        Ok(Record { head, payload })
    }

    fn choose(&mut self, bits: u8) -> Result<u32, CompactError> {
        let guess = self.contexts.guess();
        let guessed = || guess.ok_or(CompactError::Reference(0));
        if bits & op::CHOSEN == 0 {
            return guessed();
        }
        let mut choice = self.numbers.varint()?;
        if choice == 0 {
            let tid = undelta(self.numbers.varint()?, self.lanes.newest.into());
            self.lanes.open(u32::try_from(tid).map_err(|_| CompactError::Number)?);
            choice = self.numbers.varint()?;
        }
        match choice {
            0 => guessed(),
            1 => self.open(),
            n => u32::try_from(n - 2).map_err(|_| CompactError::Reference(n - 2)),
        }
    }

    fn open(&mut self) -> Result<u32, CompactError> {
        if self.contexts.is_full() {
            self.contexts.clear();
        }
        let parent: u64 = self.numbers.varint()?;
        let parent = match parent.checked_sub(1) {
            Some(n) => Some(u32::try_from(n).ok().filter(|&n| self.contexts.get(n).is_some()).ok_or(CompactError::Reference(n))?),
            None => None,
        };
        let inherited = parent.and_then(|n| self.contexts.get(n));
        let (mut what, mut lane) = inherited.map_or((What::default(), 0), |context| (context.what, context.lane));
        let differs = self.ops.byte()?;
        if differs & new::TRAITS != 0 {
            what.traits = self.numbers.number()?;
        }
        if differs & new::NR != 0 {
            what.nr = i32::try_from(unzigzag(self.numbers.varint()?)).map_err(|_| CompactError::Number)?;
        }
        if differs & new::LANE != 0 {
            lane = self.numbers.number()?;
        }
        Kind::from_u8(what.kind()).ok_or(CompactError::Kind(what.kind()))?;
        Class::from_u8(what.class()).ok_or(CompactError::Class(what.class()))?;
        Ok(self.contexts.open(parent, lane, what))
    }

    /// The payload of record number `this`, of context `n`.
    fn payload(&mut self, n: u32, head: &Header, form: u8, old: &[u8], this: usize) -> Result<Vec<u8>, CompactError> {
        let payload = match form {
            op::PAYLOAD_SAME => {
                self.spend(old.len())?;
                return Ok(old.to_vec());
            }
            op::PAYLOAD_EMPTY => return Ok(Vec::new()),
            op::PAYLOAD_RAW => {
                let bytes: usize = self.numbers.number()?;
                self.spend(bytes)?;
                let payload = self.bytes.bytes(bytes)?;
                if !segment::are_whole(payload) {
                    return Err(CompactError::Segment);
                }
                payload.to_vec()
            }
            op::PAYLOAD_REPEATED | op::PAYLOAD_CODED | op::PAYLOAD_MANY => self.segments(n, head, form, old)?,
            _ => return Err(CompactError::Segment),
        };
        self.contexts.get_mut(n).payload = this + 1;
        Ok(payload)
    }

    fn segments(&mut self, n: u32, head: &Header, form: u8, old: &[u8]) -> Result<Vec<u8>, CompactError> {
        let context = self.contexts.get_mut(n);
        let (mut codes, mut count) = (context.codes, usize::from(context.segments));
        match form {
            op::PAYLOAD_MANY => (codes, count) = (0, self.numbers.number()?),
            op::PAYLOAD_CODED => {
                count = self.ops.byte()?.into();
                if count > segment::REMEMBERED {
                    return Err(CompactError::Segment);
                }
                let mut bytes = [0; segment::REMEMBERED];
                bytes[..count].copy_from_slice(self.ops.bytes(count)?);
                codes = u64::from_le_bytes(bytes);
            }
            _ => {}
        }
        let many = form == op::PAYLOAD_MANY;
        let mut clock = context.clock;
        let mut old = Pieces(old);
        let mut payload = Vec::new();
        let mut end = head.args[1];
        for i in 0..count {
            let code = if many { self.ops.byte()? } else { (codes >> (8 * i)) as u8 };
            end = self.segment(head, code, old.next(), end, &mut clock, &mut payload)?;
        }
        let context = self.contexts.get_mut(n);
        context.clock = clock;
        (context.codes, context.segments) = (codes, if many { 0 } else { count as u8 });
        Ok(payload)
    }

    /// Appends a segment; where it ends.
    fn segment(
        &mut self,
        head: &Header,
        code: u8,
        before: Option<Piece<'_>>,
        end: u64,
        clock: &mut context::Clock,
        payload: &mut Vec<u8>,
    ) -> Result<u64, CompactError> {
        let addr = match segment::addr_of(code) {
            addr::SAME => before.ok_or(CompactError::Segment)?.addr,
            addr::DELTA => undelta(self.numbers.varint()?, before.map_or(end, |before| before.addr)),
            arg => head.args[usize::from(arg)],
        };
        let len = match segment::length_of(code) {
            length::RET => head.ret.cast_unsigned(),
            length::SAME => before.ok_or(CompactError::Segment)?.bytes.len() as u64,
            length::EVENTS => head.ret.cast_unsigned().wrapping_mul(length::EVENT_BYTES),
            _ => self.numbers.varint()?,
        };
        let bytes = u32::try_from(len).map_err(|_| CompactError::Segment)? as usize;
        self.spend(SEGMENT_BYTES + padded(bytes))?;
        payload.reserve(SEGMENT_BYTES + padded(bytes));
        segment::push_head(payload, addr, bytes);
        let start = payload.len();
        self.fill(head, segment::content_of(code), before, Piece { addr, bytes: &[] }, bytes, clock, payload)?;
        if payload.len() - start != bytes {
            return Err(CompactError::Segment);
        }
        payload.resize(start + padded(bytes), 0);
        Ok(addr.wrapping_add(len))
    }

    #[expect(clippy::too_many_arguments, reason = "a step of `segment`")]
    fn fill(
        &mut self,
        head: &Header,
        code: u8,
        before: Option<Piece<'_>>,
        piece: Piece<'_>,
        len: usize,
        clock: &mut context::Clock,
        payload: &mut Vec<u8>,
    ) -> Result<(), CompactError> {
        let old = before.map_or(&[][..], |before| before.bytes);
        match code {
            content::SAME => payload.extend_from_slice(before.ok_or(CompactError::Segment)?.bytes),
            content::LITERAL => payload.extend_from_slice(self.bytes.bytes(len)?),
            content::PATCH => patch::take_runs(&mut self.numbers, &mut self.bytes, old, payload)?,
            content::AFFIX => patch::take_affix(&mut self.numbers, &mut self.bytes, old, len, payload)?,
            content::CLOCK => {
                let what = What::of(head);
                let unit = segment::clock_unit(what).ok_or(CompactError::Segment)?;
                let reading = undelta(self.numbers.varint()?, clock.guess(head.time_ns, unit));
                clock.visit(head.time_ns, unit, reading);
                segment::put_reading(payload, reading, unit);
            }
            content::NUMBER => {
                let number = undelta(self.numbers.varint()?, segment::next_word(old, piece.addr, head.ret));
                payload.extend_from_slice(&number.to_le_bytes());
            }
            _ => return Err(CompactError::Segment),
        }
        Ok(())
    }
}
