//! Bytes to payloads.

use migrate_common::record::{Header, SEGMENT_BYTES, padded};

use super::Decoder;
use crate::round::compact::context::{Clock, What};
use crate::round::compact::segment::{self, Piece, Pieces, addr, content, length};
use crate::round::compact::varint::undelta;
use crate::round::compact::{CompactError, op, patch};

impl Decoder<'_> {
    /// The payload of record number `this`, of context `n`.
    pub(super) fn payload(&mut self, n: u32, head: &Header, form: u8, old: &[u8], this: usize) -> Result<Vec<u8>, CompactError> {
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
        clock: &mut Clock,
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
        clock: &mut Clock,
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
                let unit = segment::Unit::of(what).ok_or(CompactError::Segment)?;
                let reading = undelta(self.clocks.varint()?, clock.guess(head.time_ns, unit));
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
