//! Why bytes are not a log, or a log cannot go on.

use std::fmt;
use std::io;

use super::compact::CompactError;

/// The part of a log that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The file's header and its description of the container.
    Header,
    /// The chunk with this number.
    Chunk(u64),
    /// The footer.
    End,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Chunk(n) => write!(f, "chunk {n}"),
            Self::End => f.write_str("the footer"),
        }
    }
}

/// Everything that can be wrong with a chunk, a log or a spool. What is expected in a healthy run (the spool's limit, a full
/// disk, a reader that has caught up) is a value, not one of these.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("not a log: it does not begin as one")]
    NotALog,
    #[error("log of record version {found}, this program reads version {want}")]
    Version { found: u16, want: u16 },
    #[error("log cut short at byte {at}")]
    CutShort { at: u64 },
    #[error("checksum of {0} does not match: the log was changed or damaged")]
    Checksum(Part),
    #[error("byte {at} begins neither a chunk nor the footer: the log was changed or damaged")]
    Section { at: u64 },
    #[error("{bytes} bytes follow the footer at byte {at}")]
    Trailing { at: u64, bytes: u64 },
    #[error("the footer's chain over all chunks does not match: a chunk was replaced")]
    Chain,
    #[error("the footer counts {footer} {what}, the log holds {found}")]
    Count { what: &'static str, footer: u64, found: u64 },
    #[error("chunk {found} stands where chunk {expected} belongs")]
    ChunkOrder { expected: u64, found: u64 },
    #[error("chunk {chunk} is packed with codec {codec}, which this program does not have")]
    Codec { chunk: u64, codec: u16 },
    #[error("{part} has {bytes} bytes, the limit is {limit}")]
    Size { part: Part, bytes: u64, limit: u64 },
    #[error("with this record the chunk would have {bytes} bytes, the limit is {limit}")]
    Full { bytes: u64, limit: u64 },
    #[error("chunk {chunk} does not unpack to the {raw_bytes} bytes that its header promises")]
    Unpack { chunk: u64, raw_bytes: u32 },
    #[error("chunk {chunk} holds other records than its header counts")]
    Contents { chunk: u64 },
    #[error("chunk {chunk} has no records")]
    Empty { chunk: u64 },
    #[error("bad encoding in chunk {chunk}")]
    Compact { chunk: u64, source: CompactError },
    #[error("record {found} stands where record {expected} belongs")]
    Order { expected: u64, found: u64 },
    #[error("image record {seq} of task {tid} does not stand behind its exec")]
    Image { seq: u64, tid: u32 },
    #[error("record {seq} is a piece, which only the ring holds")]
    Piece { seq: u64 },
    #[error("{0} is not the JSON that this version writes")]
    Json(Part, #[source] serde_json::Error),
    #[error("the log has a gap after record {at}: {why}")]
    Gap { at: u64, why: String },
    #[error("the log was not read to its end")]
    NotRead,
    #[error("log i/o failed")]
    Io(#[from] io::Error),
}
