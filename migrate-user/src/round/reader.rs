//! Reads a log from its start, chunk by chunk.

use std::io::{ErrorKind, Read};

use bytemuck::Pod;

use super::chain::{Chain, sum};
use super::chunk::{self, Chunk, ChunkHeader};
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
    fn add(&mut self, chunk: &Chunk) {
        let head = chunk.header();
        self.chunks += 1;
        self.records = self.records.saturating_add(head.records);
        self.raw_bytes = self.raw_bytes.saturating_add(head.raw_bytes.into());
        self.encoded_bytes = self.encoded_bytes.saturating_add(chunk.encoded_bytes());
        self.stored_bytes = self.stored_bytes.saturating_add(chunk.as_bytes().len() as u64);
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
        let mut input = Counted { input, at: 0 };
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
        let at = self.input.at;
        let magic: [u8; 4] = self.input.read_after(&[])?;
        match magic {
            chunk::MAGIC => self.read_chunk(&magic).map(Some),
            END_MAGIC => self.read_footer(&magic).map(|()| None),
            _ => Err(LogError::Section { at }),
        }
    }

    fn read_chunk(&mut self, magic: &[u8]) -> Result<Chunk, LogError> {
        let head: ChunkHeader = self.input.read_after(magic)?;
        head.check()?;
        if head.n != self.sizes.chunks {
            return Err(LogError::ChunkOrder { expected: self.sizes.chunks, found: head.n });
        }
        // An Image that the log's previous chunk holds the Exec of begins with that Exec's number.
        if let Some(expected) = self.next_seq.filter(|&next| head.first_seq != next && head.first_seq.wrapping_add(1) != next) {
            return Err(LogError::Order { expected, found: head.first_seq });
        }
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.append(&mut self.input.read_body(head.stored_bytes)?);
        let chunk = Chunk::parse(bytes)?;
        self.chain.push(&head);
        self.sizes.add(&chunk);
        self.next_seq = Some(head.last_seq.wrapping_add(1));
        Ok(chunk)
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

/// Counts what it reads, so that an end in the wrong place is told by its position.
#[derive(Debug)]
struct Counted<R> {
    input: R,
    at: u64,
}

impl<R: Read> Counted<R> {
    /// Reads until `buffer` is full or the input ends; how many bytes it got.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, LogError> {
        let mut have = 0;
        while have < buffer.len() {
            match self.input.read(&mut buffer[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.at += have as u64;
        Ok(have)
    }

    /// A `T` of which the `first` bytes were read already.
    fn read_after<T: Pod>(&mut self, first: &[u8]) -> Result<T, LogError> {
        let mut value = T::zeroed();
        let (done, rest) = bytemuck::bytes_of_mut(&mut value).split_at_mut(first.len());
        done.copy_from_slice(first);
        if self.fill(rest)? < rest.len() {
            return Err(LogError::CutShort { at: self.at });
        }
        Ok(value)
    }

    /// `bytes` bytes; allocates as they come, not as they are promised.
    fn read_body(&mut self, bytes: u32) -> Result<Vec<u8>, LogError> {
        let mut body = Vec::new();
        let have = self.input.by_ref().take(bytes.into()).read_to_end(&mut body)?;
        self.at += have as u64;
        if have < bytes as usize {
            return Err(LogError::CutShort { at: self.at });
        }
        Ok(body)
    }

    fn skip_rest(&mut self) -> Result<u64, LogError> {
        Ok(std::io::copy(&mut self.input, &mut std::io::sink())?)
    }
}
