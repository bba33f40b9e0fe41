//! The compact encoding of records, before zstd: each is told by what it has other than the last one like it.
//!
//! ```text
//!  +---------+-----------+---------+----------+-----+---------+-------+--------+-------+
//!  | ops     | numbers   | times   | clocks   | ops | numbers | times | clocks | bytes |
//!  +---------+-----------+---------+----------+-----+---------+-------+--------+-------+
//!    lengths in bytes, each a varint            streams
//!
//!  of a record, in order:
//!    ops      op                      7   6   5   4   3   2   1   0
//!                                   +---+-----------+---+-------+---+
//!                                   |seq|  payload  |arg|  ret  |cho|
//!                                   +---+-----------+---+-------+---+
//!    cho  numbers  choice             0 a new task: its tid - the newest task's; then another choice
//!                                     0 the guessed context, 1 a new one, n + 2 context n
//!         of a new one: numbers parent + 1 (0 none); ops which differ (1 traits, 2 nr, 4 lane); numbers these
//!    seq  numbers  seq - the expected
//!         times    step - the context's usual step, step = time_ns - that of the record before
//!    arg  ops      two bytes, two bits an argument: 0 as before, 1 value, 2 distance, 3 kept; numbers these
//!    ret           0 as before, 1 args[2], 2 value, 3 distance; numbers this
//!    payload       0 as before, 1 segments coded as before, 2 ops count, codes, 3 numbers length, bytes payload,
//!                  4 none, 5 numbers count, ops codes
//!         of each segment:           7   6   5   4   3   2   1   0
//!                                  +-----------+-------+-----------+
//!                                  |  content  |  len  |   addr    |
//!                                  +-----------+-------+-----------+
//!         addr     0 to 5 that argument, 6 as before, 7 numbers distance
//!         len      0 ret, 1 as before, 2 numbers length, 3 ret * 12
//!         content  0 as before, 1 bytes themselves, 2 runs that differ, 3 the middle that differs,
//!                  4 clocks distance from the guess, 5 numbers distance
//! ```
//!
//! Numbers are varints of seven bits a byte, signed ones and distances zigzag. `traits` is kind, class and flags as they lie in
//! the header.
//!
//! * A *context* is the last record of the same task, call, class and flags, of the same first argument when that is small (a
//!   descriptor, a clock), and of an outcome alike (an error, 0, more): "as before" and "distance" mean it. A new one begins as a
//!   copy of its parent. Encoder and decoder number contexts as they come up and guess the next from the two before: a call
//!   that comes again takes an op of 0 and its time.
//! * A task has a *lane*, the lowest that no living task has, so that a new process finds the contexts of one that has ended.
//! * An argument of more than two bytes that came up before, in any context, is told by its place among 256 that are kept.
//! * A clock's reading is guessed from the record's own time, which goes on a tick at a time: within one that is the reading
//!   before. For a clock that ticks seldom it always is.
//! * What is alike lies together, in a stream; each is a zstd frame of its own ([`super::codec`]).
//!
//! Nothing leans on another encoding: a chunk is read without the ones before it. `len` follows from the payload; `slot` and
//! `host_tid`, which mean something only on the source's host, come back as 0; `seq` may skip numbers, as the records of a
//! measurement do. A change of any of this is another [`Codec`](super::Codec).

mod context;
mod decode;
mod encode;
mod patch;
mod segment;
mod varint;

pub use decode::decode;
pub use encode::Encoder;

/// Why bytes are no encoding of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    #[error("the encoding is cut short")]
    Short,
    #[error("a number is larger than what it stands for")]
    Number,
    #[error("bytes are left over behind the last record")]
    Trailing,
    #[error("record kind {0} is not known")]
    Kind(u8),
    #[error("file class {0} is not known")]
    Class(u8),
    #[error("a record refers to context or lane {0}, which is not there")]
    Reference(u64),
    #[error("a segment is coded by what the record does not have")]
    Segment,
    #[error("the records have more than {limit} bytes")]
    Size { limit: usize },
}

/// The first byte of a record.
mod op {
    /// The task or the context is not as guessed.
    pub(super) const CHOSEN: u8 = 1;
    /// Two bits.
    pub(super) const RET: u8 = 1;
    pub(super) const RET_SAME: u8 = 0;
    /// The third argument.
    pub(super) const RET_COUNT: u8 = 1;
    pub(super) const RET_VALUE: u8 = 2;
    pub(super) const RET_DELTA: u8 = 3;
    /// Arguments have changed.
    pub(super) const ARGS: u8 = 1 << 3;
    /// Three bits.
    pub(super) const PAYLOAD: u8 = 4;
    pub(super) const PAYLOAD_SAME: u8 = 0;
    /// As many segments as before, coded as those.
    pub(super) const PAYLOAD_REPEATED: u8 = 1;
    /// Few enough segments that their codes are remembered.
    pub(super) const PAYLOAD_CODED: u8 = 2;
    /// Not as an encoder would write it: bytes that should be zero are not.
    pub(super) const PAYLOAD_RAW: u8 = 3;
    pub(super) const PAYLOAD_EMPTY: u8 = 4;
    pub(super) const PAYLOAD_MANY: u8 = 5;
    /// The number does not follow.
    pub(super) const SEQ: u8 = 1 << 7;
}

/// How an argument is told: two bits.
mod arg {
    pub(super) const VALUE: u16 = 1;
    pub(super) const DELTA: u16 = 2;
    /// By its place among the values that came up before.
    pub(super) const KEPT: u16 = 3;
}

/// What of a new context differs from its parent.
mod new {
    pub(super) const TRAITS: u8 = 1;
    pub(super) const NR: u8 = 2;
    pub(super) const LANE: u8 = 4;
}

/// How many [`Streams`] there are.
const STREAMS: usize = 5;

/// The parts of an encoding, each of bytes that are alike.
#[derive(Debug, Default)]
struct Streams {
    ops: Vec<u8>,
    numbers: Vec<u8>,
    times: Vec<u8>,
    clocks: Vec<u8>,
    bytes: Vec<u8>,
}

impl Streams {
    fn len(&self) -> usize {
        self.ops.len() + self.numbers.len() + self.times.len() + self.clocks.len() + self.bytes.len()
    }

    fn all(&mut self) -> [&mut Vec<u8>; STREAMS] {
        [&mut self.ops, &mut self.numbers, &mut self.times, &mut self.clocks, &mut self.bytes]
    }
}

/// The most bytes that the encoding of records with `raw_bytes` plain bytes takes. No number takes more than
/// [`varint::MAX_BYTES`], so that a header (96 bytes) takes less than 160 and a segment's (16) less than 32.
pub(super) const fn max_bytes(raw_bytes: usize) -> usize {
    2 * raw_bytes + STREAMS * varint::MAX_BYTES
}

/// Where zstd should begin anew: the streams have little in common. Bytes that are no encoding are one part.
pub(super) fn parts(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = varint::Reader(encoded);
    let lengths: [usize; STREAMS - 1] = std::array::from_fn(|_| reader.number().unwrap_or_default());
    let head = encoded.len() - reader.0.len();
    let mut rest = encoded;
    (0..STREAMS).filter_map(move |i| {
        let bytes = lengths.get(i).map_or(rest.len(), |&n| if i == 0 { n.saturating_add(head) } else { n });
        let (part, tail) = rest.split_at(bytes.min(rest.len()));
        rest = tail;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests;
