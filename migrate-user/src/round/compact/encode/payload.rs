//! Payloads to bytes.

use migrate_common::record::Header;

use super::Span;
use crate::round::compact::context::Context;
use crate::round::compact::segment::{self, Piece, Pieces, addr, content, length};
use crate::round::compact::varint::{self, delta};
use crate::round::compact::{Streams, op, patch};

/// Tells a payload by the one before it in the context; the op's form.
#[inline]
pub(super) fn put(out: &mut Streams, history: &mut Vec<u8>, context: &mut Context<Span>, head: &Header, payload: &[u8]) -> u8 {
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
            varint::put(&mut out.numbers, payload.len() as u64);
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
        varint::put(&mut out.numbers, n as u64);
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
        varint::put(&mut out.numbers, delta(piece.addr, before.map_or(end, |before| before.addr)));
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
        varint::put(&mut out.numbers, len);
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
    if let Some(unit) = segment::Unit::of(context.what)
        && let Some(reading) = segment::reading(new, unit)
    {
        varint::put(&mut out.clocks, delta(reading, context.clock.guess(head.time_ns, unit)));
        context.clock.visit(head.time_ns, unit, reading);
        return content::CLOCK;
    }
    if let Some(number) = segment::word(new) {
        varint::put(&mut out.numbers, delta(number, segment::next_word(old, piece.addr, head.ret)));
        return content::NUMBER;
    }
    patch::put(out, old, new)
}
