//! A chunk: records in order, packed together, with a header that tells and proves what is inside.
//!
//! ```text
//!   0      4       6      8           16          24          32
//!  +------+-------+------+-----------+-----------+-----------+-----------+
//!  | magic|version| codec| n         | first_seq | last_seq  | records   |
//!  +------+-------+------+-----------+-----------+-----------+-----------+
//!  40         44            48                      64                   80
//!  +----------+-------------+-----------------------+--------------------+
//!  | raw_bytes|stored_bytes | body_sum              | head_sum           |
//!  +----------+-------------+-----------------------+--------------------+
//!  80
//!  +---------------------------------------------------------------------+
//!  | stored_bytes bytes: the records, packed as `codec` says             |
//!  +---------------------------------------------------------------------+
//! ```
//!
//! Little endian. `magic` is "MCHK", `version` the record layout's. `body_sum` is half a blake3 over the stored bytes,
//! `head_sum` over the 64 bytes before it, so damage in a length is told from a chunk that was cut short. A chunk stands
//! alone: it unpacks without the ones before it. `records` counts Image records too, so it can exceed
//! `last_seq - first_seq + 1`. `slot` and `host_tid`, which mean something only on the source's host, are stored as 0.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use migrate_common::record::VERSION;

use super::chain::sum;
use super::codec::{self, Codec, Packer};
use super::compact::Encoder;
use super::error::{LogError, Part};
use super::order::Order;
use crate::record::{Record, RecordRef};

/// The first bytes of a chunk.
pub const MAGIC: [u8; 4] = *b"MCHK";
/// The most that a chunk unpacks to: bounds what a reader must allocate. The recorder closes chunks far below.
pub const MAX_RAW_BYTES: usize = 256 << 20;
/// The most that a chunk's body takes: [`MAX_RAW_BYTES`] that do not compress, with zstd's own bound on top.
pub const MAX_STORED_BYTES: usize = MAX_RAW_BYTES + (MAX_RAW_BYTES >> 8) + 1024;

/// The fixed part of a chunk, drawn above.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ChunkHeader {
    pub magic: [u8; 4],
    pub version: u16,
    pub codec: u16,
    /// Position in the log: 0, 1, 2 ...
    pub n: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub records: u64,
    /// Bytes of the records in their plain form, header and payload one after the other.
    pub raw_bytes: u32,
    /// Bytes that follow the header.
    pub stored_bytes: u32,
    pub body_sum: [u8; 16],
    pub head_sum: [u8; 16],
}

/// Bytes of a [`ChunkHeader`].
pub const HEADER_BYTES: usize = size_of::<ChunkHeader>();
const SUMMED_BYTES: usize = std::mem::offset_of!(ChunkHeader, head_sum);
const _: () = assert!(HEADER_BYTES == 80);
const _: () = assert!(std::mem::offset_of!(ChunkHeader, n) == 8);
const _: () = assert!(std::mem::offset_of!(ChunkHeader, raw_bytes) == 40);
const _: () = assert!(std::mem::offset_of!(ChunkHeader, body_sum) == 48);
const _: () = assert!(SUMMED_BYTES == 64);
const _: () = assert!(cfg!(target_endian = "little"), "headers are written as they lie in memory");
const _: () = assert!(MAX_STORED_BYTES <= u32::MAX as usize);

impl ChunkHeader {
    /// Checks everything that the header alone can prove.
    ///
    /// # Errors
    /// [`LogError::Version`], [`LogError::Checksum`], [`LogError::Codec`], [`LogError::Size`].
    pub fn check(&self) -> Result<Codec, LogError> {
        let part = Part::Chunk(self.n);
        if self.magic != MAGIC || sum(&bytemuck::bytes_of(self)[..SUMMED_BYTES]) != self.head_sum {
            return Err(LogError::Checksum(part));
        }
        if self.version != VERSION {
            return Err(LogError::Version { found: self.version, want: VERSION });
        }
        for (bytes, limit) in [(self.raw_bytes, MAX_RAW_BYTES), (self.stored_bytes, MAX_STORED_BYTES)] {
            if bytes as usize > limit {
                return Err(LogError::Size { part, bytes: bytes.into(), limit: limit as u64 });
            }
        }
        if self.records == 0 {
            return Err(LogError::Empty { chunk: self.n });
        }
        Codec::from_u16(self.codec).ok_or(LogError::Codec { chunk: self.n, codec: self.codec })
    }
}

/// A sealed chunk: header and body in one piece, as they lie in a file or a frame. Its checksums hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunk {
    bytes: Vec<u8>,
}

impl Chunk {
    /// Packs `records` as chunk `n`.
    ///
    /// # Errors
    /// As [`ChunkBuilder::push`] and [`ChunkBuilder::seal`].
    pub fn encode(n: u64, records: &[Record]) -> Result<Self, LogError> {
        let mut builder = ChunkBuilder::new()?;
        records.iter().try_for_each(|record| builder.push(record))?;
        builder.seal(n)?.ok_or(LogError::Empty { chunk: n })
    }

    /// Takes over bytes that must be exactly one chunk. Checks header and checksums; [`Self::records`] checks the rest.
    ///
    /// # Errors
    /// [`LogError::CutShort`] and [`LogError::Trailing`] count from the start of `bytes`; else as [`ChunkHeader::check`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, LogError> {
        let Some(head) = bytes.get(..HEADER_BYTES) else {
            return Err(LogError::CutShort { at: bytes.len() as u64 });
        };
        let head: ChunkHeader = bytemuck::pod_read_unaligned(head);
        head.check()?;
        let body = &bytes[HEADER_BYTES..];
        let stored_bytes = head.stored_bytes as usize;
        if body.len() < stored_bytes {
            return Err(LogError::CutShort { at: bytes.len() as u64 });
        }
        if body.len() > stored_bytes {
            let at = HEADER_BYTES + stored_bytes;
            return Err(LogError::Trailing { at: at as u64, bytes: (bytes.len() - at) as u64 });
        }
        if sum(body) != head.body_sum {
            return Err(LogError::Checksum(Part::Chunk(head.n)));
        }
        Ok(Self { bytes })
    }

    #[must_use]
    pub fn header(&self) -> ChunkHeader {
        bytemuck::pod_read_unaligned(&self.bytes[..HEADER_BYTES])
    }

    /// Header and body.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes that zstd was given, as its frames tell: those of the records' encoding.
    #[must_use]
    pub fn encoded_bytes(&self) -> u64 {
        codec::encoded_bytes(self.body()).map_or(0, |bytes| bytes as u64)
    }

    fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Unpacks the records and checks each, their order, and that they are what the header tells.
    ///
    /// # Errors
    /// [`LogError`] for any chunk that [`ChunkBuilder`] would not have made.
    pub fn records(&self) -> Result<Vec<Record>, LogError> {
        let head = self.header();
        let records = head.check()?.unpack(head.n, self.body(), head.raw_bytes)?;
        let mut order = Order::default();
        records.iter().try_for_each(|record| order.accept(&record.head))?;
        let ends = [records.first(), records.last()].map(|record| record.map(|r| r.head.seq));
        if ends != [Some(head.first_seq), Some(head.last_seq)] || records.len() as u64 != head.records {
            return Err(LogError::Contents { chunk: head.n });
        }
        Ok(records)
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chunk").field(&self.header()).finish()
    }
}

/// Collects records and seals them into chunks. Keeps the order across chunks.
#[derive(Debug)]
pub struct ChunkBuilder {
    packer: Packer,
    encoder: Encoder,
    encoded: Vec<u8>,
    raw_bytes: usize,
    first_seq: u64,
    last_seq: u64,
    order: Order,
}

impl ChunkBuilder {
    /// # Errors
    /// [`LogError::Io`] when zstd has no memory for its tables.
    pub fn new() -> Result<Self, LogError> {
        Ok(Self {
            packer: Packer::new()?,
            encoder: Encoder::new(),
            encoded: Vec::new(),
            raw_bytes: 0,
            first_seq: 0,
            last_seq: 0,
            order: Order::default(),
        })
    }

    /// Adds a record; `slot` and `host_tid` are stored as 0.
    ///
    /// # Errors
    /// The record does not follow the one before ([`Order::accept`]), or the chunk would exceed [`MAX_RAW_BYTES`]; the
    /// builder is unchanged then.
    pub fn push<'a>(&mut self, record: impl Into<RecordRef<'a>>) -> Result<(), LogError> {
        let record = record.into();
        let bytes = self.raw_bytes + record.len_bytes();
        if bytes > MAX_RAW_BYTES {
            return Err(LogError::Full { bytes: bytes as u64, limit: MAX_RAW_BYTES as u64 });
        }
        self.order.accept(&record.head)?;
        if self.encoder.records() == 0 {
            self.first_seq = record.head.seq;
        }
        self.encoder.push(record);
        self.last_seq = record.head.seq;
        self.raw_bytes = bytes;
        Ok(())
    }

    /// Records since the last chunk was sealed.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.encoder.records()
    }

    /// Their bytes, unpacked.
    #[must_use]
    pub const fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Packs what was collected as chunk `n`; `None` when there is nothing.
    ///
    /// # Errors
    /// [`LogError::Io`] when zstd fails.
    pub fn seal(&mut self, n: u64) -> Result<Option<Chunk>, LogError> {
        let records = self.encoder.records();
        if records == 0 {
            return Ok(None);
        }
        let raw_bytes = std::mem::take(&mut self.raw_bytes);
        self.encoder.take_into(&mut self.encoded);
        let body = self.packer.pack(&self.encoded)?;
        let mut head = ChunkHeader {
            magic: MAGIC,
            version: VERSION,
            codec: Codec::default() as u16,
            n,
            first_seq: self.first_seq,
            last_seq: self.last_seq,
            records,
            // Both are below MAX_STORED_BYTES, which a const assertion holds below u32::MAX.
            raw_bytes: raw_bytes as u32,
            stored_bytes: body.len() as u32,
            body_sum: sum(&body),
            head_sum: [0; 16],
        };
        head.head_sum = sum(&bytemuck::bytes_of(&head)[..SUMMED_BYTES]);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(bytemuck::bytes_of(&head));
        bytes.extend_from_slice(&body);
        Ok(Some(Chunk { bytes }))
    }
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
