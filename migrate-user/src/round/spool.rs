//! The log of a running container, on disk from its first record on.
//!
//! A spool is a log file (see [`log`](super::log)) whose footer is still to come. One [`Spool`] appends chunk by chunk; any number
//! of [`SpoolReader`]s read whole chunks behind it, from any chunk on, while it does.
//!
//! What can go wrong, and what happens then:
//!
//! * **The limit.** A chunk that would take the file past its limit is not written: the spool closes itself with a gap that
//!   says so, and every later append answers [`Appended::Stopped`]. The container is then not migratable; it runs on.
//! * **A full or failing disk.** The same. What was written of the chunk is cut off again. Nothing waits for the disk to
//!   become free, and no error reaches the container.
//! * **The agent dies.** A chunk is one `write(2)` at the end of the file, so what the agent had appended is there, and at
//!   most the last chunk is torn. [`recover`] cuts it and closes the log with a gap.
//! * **The host dies.** The container dies with it, so its log is of no use. Therefore appending never calls `fsync`; only
//!   [`Spool::finish`] does, for a log that is to be kept.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::chain::Chain;
use super::chunk::{Chunk, ChunkBuilder, ChunkHeader, HEADER_BYTES};
use super::error::{LogError, Part};
use super::meta::{Ending, LogMeta};
use super::reader::LogReader;
use super::writer;
use crate::record::RecordRef;

/// How large a spool may become unless the agent is told otherwise.
pub const DEFAULT_LIMIT_BYTES: u64 = 8 << 30;
/// Kept free below the limit, so that the footer of a spool that stops still fits.
const FOOTER_ROOM: u64 = 4096;

/// Why a spool takes no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("log limit of {limit_bytes} bytes reached")]
    Limit { limit_bytes: u64 },
    #[error("the log could not be written: {why}")]
    Disk { why: String },
}

/// What became of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the file, and readers see it.
    Stored(ChunkHeader),
    /// There were no records to store.
    Nothing,
    /// It is not in the file, nor will any later one be.
    Stopped(Stop),
}

/// How much a spool, or the part of it that a reader has not read, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub chunks: u64,
    pub records: u64,
    pub raw_bytes: u64,
    /// Bytes that zstd was given.
    pub encoded_bytes: u64,
    /// Bytes of the chunks in the file, with their headers.
    pub stored_bytes: u64,
}

impl Totals {
    fn add(self, chunk: &Chunk) -> Self {
        let head = chunk.header();
        Self {
            chunks: self.chunks + 1,
            records: self.records + head.records,
            raw_bytes: self.raw_bytes + u64::from(head.raw_bytes),
            encoded_bytes: self.encoded_bytes + chunk.encoded_bytes(),
            stored_bytes: self.stored_bytes + HEADER_BYTES as u64 + u64::from(head.stored_bytes),
        }
    }

    fn minus(self, read: Self) -> Self {
        Self {
            chunks: self.chunks - read.chunks,
            records: self.records - read.records,
            raw_bytes: self.raw_bytes - read.raw_bytes,
            encoded_bytes: self.encoded_bytes - read.encoded_bytes,
            stored_bytes: self.stored_bytes - read.stored_bytes,
        }
    }
}

/// What writer and readers share: the totals before each chunk, and behind the last.
#[derive(Debug)]
struct Index(Mutex<Vec<Totals>>);

impl Index {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<Totals>) -> T) -> T {
        // A panic while it was held cannot leave the index half changed: its one change is a push.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn last(&self) -> Totals {
        self.with(|totals| totals.last().copied().unwrap_or_default())
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    builder: ChunkBuilder,
    chain: Chain,
    index: Arc<Index>,
    /// Bytes before the first chunk.
    start: u64,
    limit_bytes: u64,
    next_seq: u64,
    stop: Option<Stop>,
}

impl Spool {
    /// Makes the file, which must not be there yet, and writes the log's header. `limit_bytes` bounds the whole file.
    ///
    /// # Errors
    /// [`LogError::Io`], or [`LogError::Size`] when `meta` is too large.
    pub fn create(path: &Path, meta: &LogMeta, limit_bytes: u64) -> Result<Self, LogError> {
        let (bytes, chain) = writer::header(meta)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all_at(&bytes, 0)?;
        Ok(Self {
            file: Arc::new(file),
            builder: ChunkBuilder::new()?,
            chain,
            index: Arc::new(Index(Mutex::new(vec![Totals::default()]))),
            start: bytes.len() as u64,
            limit_bytes,
            next_seq: 0,
            stop: None,
        })
    }

    /// Adds a record to the chunk that is being collected. A spool that has stopped drops it.
    ///
    /// # Errors
    /// As [`ChunkBuilder::push`]: the record does not follow the one before. End the log with [`Self::finish`] then.
    pub fn push<'a>(&mut self, record: impl Into<RecordRef<'a>>) -> Result<(), LogError> {
        if self.stop.is_some() {
            return Ok(());
        }
        self.builder.push(record)
    }

    /// Closes the chunk that was collected and appends it to the file.
    ///
    /// # Errors
    /// Only zstd's: limit and disk are told by [`Appended::Stopped`].
    pub fn append(&mut self) -> Result<Appended, LogError> {
        if let Some(stop) = &self.stop {
            return Ok(Appended::Stopped(stop.clone()));
        }
        let before = self.index.last();
        let Some(chunk) = self.builder.seal(before.chunks)? else { return Ok(Appended::Nothing) };
        let head = chunk.header();
        let after = before.add(&chunk);
        if self.start + after.stored_bytes + FOOTER_ROOM > self.limit_bytes {
            return Ok(self.stop(Stop::Limit { limit_bytes: self.limit_bytes }));
        }
        let at = self.start + before.stored_bytes;
        if let Err(e) = self.file.write_all_at(chunk.as_bytes(), at) {
            // A piece that stays behind when this fails too is cut by `recover`.
            let _cut = self.file.set_len(at);
            return Ok(self.stop(Stop::Disk { why: e.to_string() }));
        }
        self.chain.push(&head);
        self.next_seq = head.last_seq.wrapping_add(1);
        self.index.with(|totals| totals.push(after));
        Ok(Appended::Stored(head))
    }

    /// Appends what was collected, writes the footer and calls `fsync`. A spool that has stopped has its footer already.
    ///
    /// # Errors
    /// [`LogError::Io`] when footer or `fsync` fail.
    pub fn finish(mut self, ending: &Ending) -> Result<(), LogError> {
        if matches!(self.append()?, Appended::Stopped(_)) {
            return Ok(());
        }
        self.write_footer(ending)?;
        self.file.sync_all()?;
        Ok(())
    }

    /// A reader of whole chunks, from chunk `from` on, which may be one that is still to come. It stays good when the spool
    /// is finished or dropped.
    ///
    /// # Errors
    /// [`LogError::ChunkOrder`] when `from` lies further ahead than the next chunk.
    pub fn reader(&self, from: u64) -> Result<SpoolReader, LogError> {
        let found = usize::try_from(from).ok().and_then(|n| self.index.with(|totals| totals.get(n).copied()));
        let read = found.ok_or_else(|| LogError::ChunkOrder { expected: self.index.last().chunks, found: from })?;
        Ok(SpoolReader { file: Arc::clone(&self.file), index: Arc::clone(&self.index), start: self.start, read })
    }

    /// What is in the file.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.index.last()
    }

    /// Records collected since the last chunk.
    #[must_use]
    pub const fn pending_records(&self) -> u64 {
        self.builder.records()
    }

    /// Their bytes, unpacked.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.builder.raw_bytes()
    }

    /// Why nothing more is taken, if so.
    #[must_use]
    pub const fn stopped(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    fn stop(&mut self, stop: Stop) -> Appended {
        // Where the disk is full the footer may not fit either; `recover` writes it then.
        let _footer = self.write_footer(&Ending::Gap { at: self.next_seq, why: stop.to_string() });
        self.stop = Some(stop.clone());
        Appended::Stopped(stop)
    }

    fn write_footer(&self, ending: &Ending) -> Result<(), LogError> {
        let totals = self.index.last();
        let footer = writer::footer(totals.chunks, totals.records, &self.chain, ending)?;
        let at = self.start + totals.stored_bytes;
        let written = self.file.write_all_at(&footer, at);
        if written.is_err() {
            let _cut = self.file.set_len(at);
        }
        Ok(written?)
    }
}

/// The reading end: gives chunks as they were stored, for the wire to pass on.
#[derive(Debug)]
pub struct SpoolReader {
    file: Arc<File>,
    index: Arc<Index>,
    start: u64,
    read: Totals,
}

impl SpoolReader {
    /// The next chunk; `None` while there is none yet.
    ///
    /// # Errors
    /// [`LogError`] when the file was changed behind the spool's back.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, LogError> {
        let Some(after) = self.index.with(|totals| totals.get(self.read.chunks as usize + 1).copied()) else {
            return Ok(None);
        };
        let bytes = after.stored_bytes - self.read.stored_bytes;
        let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut buffer, self.start + self.read.stored_bytes)?;
        let chunk = Chunk::parse(buffer)?;
        if chunk.header().n != self.read.chunks {
            return Err(LogError::ChunkOrder { expected: self.read.chunks, found: chunk.header().n });
        }
        self.read = after;
        Ok(Some(chunk))
    }

    /// What is in the file and was not read yet.
    #[must_use]
    pub fn behind(&self) -> Totals {
        self.index.last().minus(self.read)
    }

    /// What was read, counted from the log's start.
    #[must_use]
    pub const fn read(&self) -> Totals {
        self.read
    }
}

/// What [`recover`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    pub meta: LogMeta,
    pub chunks: u64,
    pub records: u64,
    /// Bytes of a torn chunk that were cut.
    pub cut_bytes: u64,
    pub ending: Ending,
}

/// Makes a complete log of the spool of an agent that died: cuts a torn last chunk and closes the log with a gap because of
/// `why`. A log that has its footer is left as it is.
///
/// # Errors
/// [`LogError`] when the log is damaged elsewhere than at its end; the file is unchanged then.
pub fn recover(path: &Path, why: &str) -> Result<Recovered, LogError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut reader = LogReader::new(io::BufReader::new(&file))?;
    let mut good = reader.position();
    loop {
        match reader.next_chunk() {
            Ok(Some(_)) => good = reader.position(),
            Ok(None) => {
                let Some(ending) = reader.ending().cloned() else { return Err(LogError::NotRead) };
                let (meta, chunks, records) = (reader.meta().clone(), reader.chunks(), reader.records());
                return Ok(Recovered { meta, chunks, records, cut_bytes: 0, ending });
            }
            Err(LogError::CutShort { .. }) => break,
            // What was written whole but is wrong was not torn: nothing is cut that a reader would miss.
            Err(LogError::Checksum(Part::Chunk(_)) | LogError::Section { .. }) if is_unwritten(&file, good, length)? => break,
            Err(e) => return Err(e),
        }
    }
    let (meta, chunks, records) = (reader.meta().clone(), reader.chunks(), reader.records());
    let ending = Ending::Gap { at: reader.next_seq(), why: why.to_owned() };
    let footer = writer::footer(chunks, records, reader.chain(), &ending)?;
    file.set_len(good)?;
    file.write_all_at(&footer, good)?;
    file.sync_all()?;
    Ok(Recovered { meta, chunks, records, cut_bytes: length - good, ending })
}

/// Whether the file ends in a page of zeros: space that the file system had given but that never received its bytes.
fn is_unwritten(file: &File, good: u64, length: u64) -> io::Result<bool> {
    let tail = (length - good).min(4096);
    let mut bytes = vec![0; tail as usize];
    file.read_exact_at(&mut bytes, length - tail)?;
    Ok(bytes.iter().all(|&byte| byte == 0))
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
