//! How a chunk's records are packed: the codecs, by number.

use std::fmt;

use super::compact;
use super::error::LogError;
use crate::record::Record;

/// The codecs, as a chunk's header numbers them. 0 stays free, so that a zeroed header is never valid; 1 was of logs of version 1.
#[repr(u16)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// The [`compact`] encoding, each of its parts in a zstd frame of its own.
    #[default]
    Compact = 2,
}

/// zstd's level: 3 makes chunks 1 to 7 % smaller for one and a half times the time, 6 another 2 to 4 % for three times that. On a busy
/// host the time is taken from the containers, and a link is seldom what a round waits for. The ignored test `levels` of [`compact`] prints
/// the table.
pub const LEVEL: i32 = 1;

impl Codec {
    /// The codec with this number.
    #[must_use]
    pub const fn from_u16(value: u16) -> Option<Self> {
        match value {
            2 => Some(Self::Compact),
            _ => None,
        }
    }

    /// The records that were packed, each checked by itself, but not their order. Memory use is bounded by a multiple of
    /// `raw_bytes`.
    ///
    /// # Errors
    /// [`LogError::Unpack`] or [`LogError::Compact`] unless `stored` is records of `raw_bytes` bytes.
    pub fn unpack(self, chunk: u64, stored: &[u8], raw_bytes: u32) -> Result<Vec<Record>, LogError> {
        let limit = raw_bytes as usize;
        let wrong = || LogError::Unpack { chunk, raw_bytes };
        let Self::Compact = self;
        let bytes = encoded_bytes(stored).filter(|&bytes| bytes <= compact::max_bytes(limit)).ok_or_else(wrong)?;
        let encoded = zstd::bulk::decompress(stored, bytes).map_err(|_| wrong())?;
        let records = compact::decode(&encoded, limit).map_err(|source| LogError::Compact { chunk, source })?;
        if records.iter().map(Record::len_bytes).sum::<usize>() != limit {
            return Err(wrong());
        }
        Ok(records)
    }
}

/// How many bytes zstd was given, as its frames say; `None` if these bytes are no frames that say it.
#[must_use]
pub fn encoded_bytes(mut stored: &[u8]) -> Option<usize> {
    let mut sum = 0usize;
    while !stored.is_empty() {
        let bytes = zstd::zstd_safe::get_frame_content_size(stored).ok()??;
        sum = sum.checked_add(usize::try_from(bytes).ok()?)?;
        let frame = zstd::zstd_safe::find_frame_compressed_size(stored).ok()?;
        stored = stored.get(frame..).filter(|_| frame > 0)?;
    }
    Some(sum)
}

/// Packs one chunk after the other with one compression context, whose tables are large enough to be worth keeping.
pub struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    /// # Errors
    /// [`LogError::Io`] when zstd has no memory for its tables.
    pub fn new() -> Result<Self, LogError> {
        Self::with_level(LEVEL)
    }

    /// As [`Self::new`], with another of zstd's levels.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_level(level: i32) -> Result<Self, LogError> {
        Ok(Self(zstd::bulk::Compressor::new(level)?))
    }

    /// Packs what [`compact::Encoder::take`] gave, as [`Codec::Compact`] stores it.
    ///
    /// # Errors
    /// [`LogError::Io`] when zstd fails.
    pub fn pack(&mut self, encoded: &[u8]) -> Result<Vec<u8>, LogError> {
        let mut packed = Vec::new();
        for part in compact::parts(encoded) {
            packed.append(&mut self.0.compress(part)?);
        }
        Ok(packed)
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packer").field(&Codec::default()).finish()
    }
}
