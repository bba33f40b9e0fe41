//! Bytes to records.

mod payload;

use migrate_common::record::{Class, HEADER_BYTES, Header, Kind};

use super::context::{self, Contexts, Lanes, Values, What};
use super::varint::{Reader, len, undelta, unzigzag, zigzag};
use super::{CompactError, arg, new, op};
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
    if [&decoder.numbers, &decoder.times, &decoder.clocks, &decoder.bytes].iter().all(|stream| stream.is_empty()) {
        return Ok(records);
    }
    Err(CompactError::Trailing)
}

struct Decoder<'a> {
    ops: Reader<'a>,
    numbers: Reader<'a>,
    times: Reader<'a>,
    clocks: Reader<'a>,
    bytes: Reader<'a>,
    /// A context's payload is that of the record with this number, and one.
    contexts: Contexts<usize>,
    lanes: Lanes,
    values: Values,
    next_seq: u64,
    time_ns: u64,
    /// Bytes that the records may still have, out of so many.
    left: usize,
    limit: usize,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], limit: usize) -> Result<Self, CompactError> {
        let mut rest = Reader(bytes);
        let (ops, numbers, times, clocks) = (rest.number()?, rest.number()?, rest.number()?, rest.number()?);
        Ok(Self {
            ops: Reader(rest.bytes(ops)?),
            numbers: Reader(rest.bytes(numbers)?),
            times: Reader(rest.bytes(times)?),
            clocks: Reader(rest.bytes(clocks)?),
            bytes: rest,
            contexts: Contexts::new(),
            lanes: Lanes::default(),
            values: Values::new(),
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
        let context = self.contexts.get_mut(n);
        let step_ns = undelta(self.times.varint()?, context.step_ns);
        context.took(step_ns);
        self.time_ns = self.time_ns.wrapping_add(step_ns);
        let tid = self.lanes.tid(context.lane).ok_or(CompactError::Reference(context.lane.into()))?;
        if bits & op::ARGS != 0 {
            let codes = u16::from_le_bytes([self.ops.byte()?, self.ops.byte()?]);
            for (i, old) in context.args.iter_mut().enumerate() {
                let code = codes >> (2 * i) & 3;
                *old = match code {
                    arg::VALUE => unzigzag(self.numbers.varint()?).cast_unsigned(),
                    arg::DELTA => undelta(self.numbers.varint()?, *old),
                    arg::KEPT => self.values.at(self.numbers.byte()?),
                    _ => continue,
                };
                if len(zigzag(old.cast_signed())) > 2 {
                    self.values.visit(*old);
                }
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
            nr: what.nr(),
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
            what = What::new(self.numbers.number()?, what.nr());
        }
        if differs & new::NR != 0 {
            let nr = i32::try_from(unzigzag(self.numbers.varint()?)).map_err(|_| CompactError::Number)?;
            what = What::new(what.traits(), nr);
        }
        if differs & new::LANE != 0 {
            lane = self.numbers.number()?;
        }
        Kind::from_u8(what.kind()).ok_or(CompactError::Kind(what.kind()))?;
        Class::from_u8(what.class()).ok_or(CompactError::Class(what.class()))?;
        Ok(self.contexts.open(parent, lane, what))
    }
}
