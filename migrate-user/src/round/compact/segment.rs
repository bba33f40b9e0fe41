//! Segments, and how each is told by what encoder and decoder know: the call's arguments and result, and the segment that
//! stood in the same place in the record before of the same context.

use migrate_common::record::{SEGMENT_BYTES, SegmentHeader, padded};

use super::context::{Clock, What};

/// Where a segment lies.
pub(super) mod addr {
    /// Below: at that argument. As the one before in the context.
    pub(in super::super) const SAME: u8 = 6;
    /// By its distance from that one.
    pub(in super::super) const DELTA: u8 = 7;
}

/// How long a segment is.
pub(super) mod length {
    /// As the result says.
    pub(in super::super) const RET: u8 = 0;
    /// As the one before in the context.
    pub(in super::super) const SAME: u8 = 1;
    /// By a number.
    pub(in super::super) const VALUE: u8 = 2;
    /// The result many `struct epoll_event`.
    pub(in super::super) const EVENTS: u8 = 3;
    /// Bytes of a `struct epoll_event`.
    pub(in super::super) const EVENT_BYTES: u64 = 12;
}

/// What is in a segment.
pub(super) mod content {
    /// What was in the one before in the context.
    pub(in super::super) const SAME: u8 = 0;
    /// The bytes themselves.
    pub(in super::super) const LITERAL: u8 = 1;
    /// Runs that differ from the one before.
    pub(in super::super) const PATCH: u8 = 2;
    /// The one before, but for its middle.
    pub(in super::super) const AFFIX: u8 = 3;
    /// Seconds and parts of one, by their distance from the guess.
    pub(in super::super) const CLOCK: u8 = 4;
    /// Eight bytes, by their distance from the ones before.
    pub(in super::super) const NUMBER: u8 = 5;
}

/// Address, length and content in one byte.
pub(super) const fn code(addr: u8, length: u8, content: u8) -> u8 {
    addr | length << 3 | content << 5
}

pub(super) const fn addr_of(code: u8) -> u8 {
    code & 7
}

pub(super) const fn length_of(code: u8) -> u8 {
    code >> 3 & 3
}

pub(super) const fn content_of(code: u8) -> u8 {
    code >> 5
}

/// How many codes a context remembers.
pub(super) const REMEMBERED: usize = 8;

#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) addr: u64,
    pub(super) bytes: &'a [u8],
}

/// Takes segments off the start of a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    #[inline]
    fn next(&mut self) -> Option<Piece<'a>> {
        let (head, rest) = self.0.split_first_chunk::<SEGMENT_BYTES>()?;
        let head: SegmentHeader = bytemuck::pod_read_unaligned(head);
        let len = head.len as usize;
        let (bytes, tail) = rest.split_at_checked(padded(len))?;
        self.0 = tail;
        Some(Piece { addr: head.addr, bytes: &bytes[..len] })
    }
}

/// How many segments a payload has; `None` unless a decoder would make the same bytes of them: zeros
/// where nothing is told.
pub(super) fn count(payload: &[u8]) -> Option<usize> {
    let (mut n, mut rest) = (0, payload);
    while let Some((head, tail)) = rest.split_first_chunk::<SEGMENT_BYTES>() {
        let head: SegmentHeader = bytemuck::pod_read_unaligned(head);
        let len = head.len as usize;
        let (bytes, tail) = tail.split_at_checked(padded(len))?;
        if head.zero != 0 || bytes[len..].iter().any(|&byte| byte != 0) {
            return None;
        }
        rest = tail;
        n += 1;
    }
    rest.is_empty().then_some(n)
}

/// Whether these bytes are segments to their end.
pub(super) fn are_whole(payload: &[u8]) -> bool {
    let mut pieces = Pieces(payload);
    while pieces.next().is_some() {}
    pieces.0.is_empty()
}

/// Appends a segment's header; the length fits, for a record's does.
pub(super) fn push_head(out: &mut Vec<u8>, addr: u64, len: usize) {
    out.extend_from_slice(bytemuck::bytes_of(&SegmentHeader { addr, len: len as u32, zero: 0 }));
}

/// A number of eight bytes.
pub(super) fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// What eight bytes are expected to be: at address 0 the offset of a file, which moves on by what was read or written.
pub(super) fn next_word(old: &[u8], addr: u64, ret: i64) -> u64 {
    let old = word(old).unwrap_or_default();
    if addr == 0 { old.wrapping_add(ret.cast_unsigned()) } else { old }
}

/// What a reading has beside its seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// clock_gettime.
    Nanoseconds,
    /// gettimeofday.
    Microseconds,
}

impl Unit {
    /// That of the call, if it reads a clock.
    pub(super) const fn of(what: What) -> Option<Self> {
        match (what.kind(), what.nr()) {
            (1, 228) => Some(Self::Nanoseconds),
            (1, 96) => Some(Self::Microseconds),
            _ => None,
        }
    }

    const fn per_second(self) -> u64 {
        match self {
            Self::Nanoseconds => 1_000_000_000,
            Self::Microseconds => 1_000_000,
        }
    }

    const fn of_ns(self, time_ns: u64) -> u64 {
        match self {
            Self::Nanoseconds => time_ns,
            Self::Microseconds => time_ns / 1000,
        }
    }
}

/// Seconds that a reading may have, so that it fits 64 bits in any unit.
const MAX_SECONDS: u64 = 1 << 33;

/// The reading in a segment of two words, in parts of a second.
pub(super) fn reading(bytes: &[u8], unit: Unit) -> Option<u64> {
    let (seconds, parts) = bytes.split_at_checked(8)?;
    let (seconds, parts) = (word(seconds)?, word(parts)?);
    (seconds < MAX_SECONDS && parts < unit.per_second()).then(|| seconds * unit.per_second() + parts)
}

/// The inverse of [`reading`].
pub(super) fn put_reading(out: &mut Vec<u8>, reading: u64, unit: Unit) {
    let per_second = unit.per_second();
    out.extend_from_slice(&(reading / per_second).to_le_bytes());
    out.extend_from_slice(&(reading % per_second).to_le_bytes());
}

impl Clock {
    /// What the clock is expected to show at `time_ns`: as far from the record's time as it was, or what it showed.
    pub(super) const fn guess(&self, time_ns: u64, unit: Unit) -> u64 {
        if self.coarse { self.reading } else { self.offset.wrapping_add(unit.of_ns(time_ns)) }
    }

    /// The clock showed `reading`.
    pub(super) const fn visit(&mut self, time_ns: u64, unit: Unit, reading: u64) {
        let now = unit.of_ns(time_ns);
        let by_reading = reading.wrapping_sub(self.reading).cast_signed().unsigned_abs();
        let by_offset = reading.wrapping_sub(self.offset.wrapping_add(now)).cast_signed().unsigned_abs();
        self.coarse = by_reading < by_offset;
        self.offset = reading.wrapping_sub(now);
        self.reading = reading;
    }
}
