//! Reads a log from its start, chunk by chunk.

use std::io::{Read, Seek};

use super::chain::{Chain, sum};
use super::chunk::{self, Chunk, ChunkHeader};
use super::counted::Counted;
use super::error::{LogError, Part};
use super::log::{END_MAGIC, FileHeader, Footer};
use super::meta::{End, Ending, LogMeta};
use super::order::Order;
use crate::record::Record;

/// How large what was read of a log is, in each form that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub chunks: u64,
    pub records: u64,
    /// The records' headers and payloads.
    pub raw_bytes: u64,
    /// Their encoding, before zstd.
    pub encoded_bytes: u64,
    /// The chunks in the file, with their headers.
    pub stored_bytes: u64,
}

impl Sizes {
    /// A chunk was read, or only its header, so that nobody knows how large its encoding is.
    fn add(&mut self, head: &ChunkHeader, encoded_bytes: u64) {
        self.chunks += 1;
        self.records = self.records.saturating_add(head.records);
        self.raw_bytes = self.raw_bytes.saturating_add(head.raw_bytes.into());
        self.encoded_bytes = self.encoded_bytes.saturating_add(encoded_bytes);
        self.stored_bytes = self.stored_bytes.saturating_add(size_of::<ChunkHeader>() as u64 + u64::from(head.stored_bytes));
    }

    /// What was read since it was `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            chunks: self.chunks - earlier.chunks,
            records: self.records - earlier.records,
            raw_bytes: self.raw_bytes - earlier.raw_bytes,
            encoded_bytes: self.encoded_bytes - earlier.encoded_bytes,
            stored_bytes: self.stored_bytes - earlier.stored_bytes,
        }
    }
}

/// Streams a log. Memory use is bounded by one chunk, whatever the bytes are.
#[derive(Debug)]
pub struct LogReader<R: Read> {
    input: Counted<R>,
    meta: LogMeta,
    chain: Chain,
    order: Order,
    sizes: Sizes,
    next_seq: Option<u64>,
    ending: Option<Ending>,
    failed: bool,
}

impl<R: Read> LogReader<R> {
    /// Reads and checks the header. `input` is read in small pieces too: give a buffered one.
    ///
    /// # Errors
    /// [`LogError::NotALog`], [`LogError::Version`], [`LogError::Checksum`], [`LogError::CutShort`], [`LogError::Io`].
    pub fn new(input: R) -> Result<Self, LogError> {
        let mut input = Counted::new(input);
        let mut magic = [0; 8];
        let have = input.fill(&mut magic)?;
        if have == 0 || magic[..have] != super::log::MAGIC[..have] {
            return Err(LogError::NotALog);
        }
        let head: FileHeader = input.read_after(&magic[..have])?;
        head.check()?;
        let body = input.read_body(head.body_bytes)?;
        if *blake3::hash(&body).as_bytes() != head.body_sum {
            return Err(LogError::Checksum(Part::Header));
        }
        let meta = serde_json::from_slice(&body).map_err(|e| LogError::Json(Part::Header, e))?;
        let chain = Chain::new(bytemuck::bytes_of(&head));
        Ok(Self {
            input,
            meta,
            chain,
            order: Order::default(),
            sizes: Sizes::default(),
            next_seq: None,
            ending: None,
            failed: false,
        })
    }

    /// Where the log was made, and of what.
    #[must_use]
    pub const fn meta(&self) -> &LogMeta {
        &self.meta
    }

    /// The next chunk's records, each checked, in order with the chunk before; `None` behind the last chunk, when the footer
    /// was read and agrees with all that came before.
    ///
    /// # Errors
    /// Any [`LogError`]; every later call gives [`LogError::NotRead`].
    pub fn next_records(&mut self) -> Result<Option<Vec<Record>>, LogError> {
        let Some(chunk) = self.next_chunk()? else { return Ok(None) };
        let records = chunk.records().and_then(|records| {
            records.iter().try_for_each(|record| self.order.accept(&record.head))?;
            Ok(records)
        });
        self.failed = records.is_err();
        records.map(Some)
    }

    /// As [`Self::next_records`], but without unpacking: only sums, numbers and counts are checked.
    ///
    /// # Errors
    /// As [`Self::next_records`].
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, LogError> {
        if self.failed {
            return Err(LogError::NotRead);
        }
        if self.ending.is_some() {
            return Ok(None);
        }
        let section = self.read_section();
        self.failed = section.is_err();
        section
    }

    /// How the log ended, once it was read to its end.
    #[must_use]
    pub const fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// How the program ended, for those who need a complete log.
    ///
    /// # Errors
    /// [`LogError::Gap`] when recording stopped before the program did, [`LogError::NotRead`] before the end.
    pub fn into_end(self) -> Result<End, LogError> {
        match self.ending {
            Some(Ending::End(end)) => Ok(end),
            Some(Ending::Gap { at, why }) => Err(LogError::Gap { at, why }),
            None => Err(LogError::NotRead),
        }
    }

    /// Bytes read so far: a boundary between chunks, unless an error was returned.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.input.at
    }

    /// Chunks read so far.
    #[must_use]
    pub const fn chunks(&self) -> u64 {
        self.sizes.chunks
    }

    /// Records in them.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.sizes.records
    }

    /// What was read so far.
    #[must_use]
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The number that follows the last record read; 0 before the first.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        match self.next_seq {
            Some(next) => next,
            None => 0,
        }
    }

    pub(super) const fn chain(&self) -> &Chain {
        &self.chain
    }

    fn read_section(&mut self) -> Result<Option<Chunk>, LogError> {
        let Some(head) = self.read_head()? else { return Ok(None) };
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.append(&mut self.input.read_body(head.stored_bytes)?);
        let chunk = Chunk::parse(bytes)?;
        self.accept(&head, chunk.encoded_bytes());
        Ok(Some(chunk))
    }

    /// The next chunk's header; `None` behind the last, when the footer was read.
    fn read_head(&mut self) -> Result<Option<ChunkHeader>, LogError> {
        let at = self.input.at;
        let magic: [u8; 4] = self.input.read_after(&[])?;
        match magic {
            chunk::MAGIC => {}
            END_MAGIC => return self.read_footer(&magic).map(|()| None),
            _ => return Err(LogError::Section { at }),
        }
        let head: ChunkHeader = self.input.read_after(&magic)?;
        head.check()?;
        if head.n != self.sizes.chunks {
            return Err(LogError::ChunkOrder { expected: self.sizes.chunks, found: head.n });
        }
        // An Image that the log's previous chunk holds the Exec of begins with that Exec's number.
        if let Some(expected) = self.next_seq.filter(|&next| head.first_seq != next && head.first_seq.wrapping_add(1) != next) {
            return Err(LogError::Order { expected, found: head.first_seq });
        }
        Ok(Some(head))
    }

    fn accept(&mut self, head: &ChunkHeader, encoded_bytes: u64) {
        self.chain.push(head);
        self.sizes.add(head, encoded_bytes);
        self.next_seq = Some(head.last_seq.wrapping_add(1));
    }

    fn read_footer(&mut self, magic: &[u8]) -> Result<(), LogError> {
        let foot: Footer = self.input.read_after(magic)?;
        foot.check()?;
        let body = self.input.read_body(foot.body_bytes)?;
        if sum(&body) != foot.body_sum {
            return Err(LogError::Checksum(Part::End));
        }
        for (what, footer, found) in [("chunks", foot.chunks, self.sizes.chunks), ("records", foot.records, self.sizes.records)] {
            if footer != found {
                return Err(LogError::Count { what, footer, found });
            }
        }
        if foot.chain != self.chain.link() {
            return Err(LogError::Chain);
        }
        let at = self.input.at;
        let bytes = self.input.skip_rest()?;
        if bytes > 0 {
            return Err(LogError::Trailing { at, bytes });
        }
        self.ending = Some(serde_json::from_slice(&body).map_err(|e| LogError::Json(Part::End, e))?);
        Ok(())
    }
}

impl<R: Read + Seek> LogReader<R> {
    /// How the program ended, for those who have not read the log, and read its chunks, which are not looked at here, in another way.
    ///
    /// # Errors
    /// As [`Self::next_chunk`], and as [`Self::into_end`].
    pub fn skip_to_end(mut self) -> Result<End, LogError> {
        while !self.failed && self.ending.is_none() {
            let Some(head) = self.read_head()? else { break };
            self.input.skip(head.stored_bytes)?;
            self.accept(&head, 0);
        }
        self.into_end()
    }
}
