//! Writes a log.

use std::io::Write;

use super::chain::Chain;
use super::chunk::{Chunk, ChunkBuilder};
use super::error::{LogError, Part};
use super::log::{FileHeader, Footer};
use super::meta::{Ending, LogMeta};
use super::policy::CHUNK_BYTES;
use crate::record::RecordRef;

/// Writes header, chunks and footer to `W`. A writer that is dropped leaves a log without footer, which reads as cut short.
#[derive(Debug)]
pub struct LogWriter<W: Write> {
    out: W,
    builder: ChunkBuilder,
    chunks: u64,
    records: u64,
    chain: Chain,
    next_seq: u64,
}

impl<W: Write> LogWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`LogError::Io`], or [`LogError::Size`] when `meta` is too large.
    pub fn new(mut out: W, meta: &LogMeta) -> Result<Self, LogError> {
        let (bytes, chain) = header(meta)?;
        out.write_all(&bytes)?;
        Ok(Self { out, builder: ChunkBuilder::new()?, chunks: 0, records: 0, chain, next_seq: 0 })
    }

    /// Adds a record; closes the chunk when it has [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// As [`ChunkBuilder::push`], or [`LogError::Io`].
    pub fn push<'a>(&mut self, record: impl Into<RecordRef<'a>>) -> Result<(), LogError> {
        self.builder.push(record)?;
        if self.builder.raw_bytes() < CHUNK_BYTES {
            return Ok(());
        }
        self.close_chunk().map(|_| ())
    }

    /// Writes what was pushed since the last chunk; `None` when that is nothing.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn close_chunk(&mut self) -> Result<Option<Chunk>, LogError> {
        let Some(chunk) = self.builder.seal(self.chunks)? else { return Ok(None) };
        let head = chunk.header();
        self.out.write_all(chunk.as_bytes())?;
        self.chain.push(&head);
        self.chunks += 1;
        self.records += head.records;
        self.next_seq = head.last_seq.wrapping_add(1);
        Ok(Some(chunk))
    }

    /// Writes the last chunk and the footer, flushes, and gives `W` back.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn finish(mut self, ending: &Ending) -> Result<W, LogError> {
        self.close_chunk()?;
        let footer = footer(self.chunks, self.records, &self.chain, ending)?;
        self.out.write_all(&footer)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Records pushed since the last chunk.
    #[must_use]
    pub const fn pending_records(&self) -> u64 {
        self.builder.records()
    }

    /// Their bytes, unpacked.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.builder.raw_bytes()
    }

    /// Chunks written.
    #[must_use]
    pub const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// The number that follows the last record written.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }
}

/// The file's first bytes, header and JSON, and the chain's first link.
pub(super) fn header(meta: &LogMeta) -> Result<(Vec<u8>, Chain), LogError> {
    let body = serde_json::to_vec(meta).map_err(|e| LogError::Json(Part::Header, e))?;
    let head = FileHeader::new(&body)?;
    Ok(([bytemuck::bytes_of(&head), &body].concat(), Chain::new(bytemuck::bytes_of(&head))))
}

/// The footer's bytes, header and JSON.
pub(super) fn footer(chunks: u64, records: u64, chain: &Chain, ending: &Ending) -> Result<Vec<u8>, LogError> {
    let body = serde_json::to_vec(ending).map_err(|e| LogError::Json(Part::End, e))?;
    let foot = Footer::new(chunks, records, chain.link(), &body)?;
    Ok([bytemuck::bytes_of(&foot), &body].concat())
}
