//! The compact form.
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
    pub(super) const PAYLOAD_REPEATED: u8 = 1;
    pub(super) const PAYLOAD_CODED: u8 = 2;
    pub(super) const PAYLOAD_RAW: u8 = 3;
    pub(super) const PAYLOAD_EMPTY: u8 = 4;
    pub(super) const PAYLOAD_MANY: u8 = 5;
    /// The number does not follow.
    pub(super) const SEQ: u8 = 1 << 7;
}

/// What of a new context differs from its parent.
mod new {
    pub(super) const TRAITS: u8 = 1;
    pub(super) const NR: u8 = 2;
    pub(super) const LANE: u8 = 4;
}

/// The parts of an encoding, each of bytes that are alike.
#[derive(Debug, Default)]
struct Streams {
    ops: Vec<u8>,
    numbers: Vec<u8>,
    times: Vec<u8>,
    bytes: Vec<u8>,
}

impl Streams {
    fn len(&self) -> usize {
        self.ops.len() + self.numbers.len() + self.times.len() + self.bytes.len()
    }

    fn all(&mut self) -> [&mut Vec<u8>; 4] {
        [&mut self.ops, &mut self.numbers, &mut self.times, &mut self.bytes]
    }
}

/// The most bytes that the encoding of records with `raw_bytes` plain bytes takes. No number takes more than
/// [`varint::MAX_BYTES`], so that a header (96 bytes) takes less than 160 and a segment's (16) less than 30.
pub(super) const fn max_bytes(raw_bytes: usize) -> usize {
    2 * raw_bytes + 3 * varint::MAX_BYTES
}

/// Where zstd should begin anew: the streams have little in common. Bytes that are no encoding are one part.
pub(super) fn parts(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lengths = || {
        let mut reader = varint::Reader(encoded);
        let lengths: [usize; 3] = [reader.number().ok()?, reader.number().ok()?, reader.number().ok()?];
        Some((encoded.len() - reader.0.len(), lengths))
    };
    let (head, [ops, numbers, times]) = lengths().unwrap_or_default();
    let mut rest = encoded;
    [Some(ops.saturating_add(head)), Some(numbers), Some(times), None].into_iter().filter_map(move |n: Option<usize>| {
        let (part, tail) = rest.split_at(n.unwrap_or(rest.len()).min(rest.len()));
        rest = tail;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests;
