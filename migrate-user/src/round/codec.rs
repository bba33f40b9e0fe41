//! How a chunk's records are packed.
//!
//! The seam for a compact encoding: a codec sees the plain bytes of whole records and may take them apart as it likes, as
//! long as it gives the same bytes back.

use std::fmt;

use super::error::LogError;

/// The codecs, as a chunk's header numbers them. 0 stays free, so that a zeroed header is never valid.
#[repr(u16)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// The records' plain bytes, one zstd frame a chunk.
    #[default]
    Zstd = 1,
}

/// zstd's own default. On synthetic records of a server (11.5 times smaller, 0.8 GB/s) level 1 is neither smaller nor much
/// faster, and levels 6 and 9 make chunks 4 and 9 % smaller for 5 and 7 times the time. A window kept open across chunks
/// gained nothing at 64 KiB a chunk and above, so that each chunk may as well stand alone. The ignored test `levels` of
/// `chunk` prints the table.
pub const LEVEL: i32 = 3;

impl Codec {
    /// The codec with this number.
    #[must_use]
    pub const fn from_u16(value: u16) -> Option<Self> {
        match value {
            1 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Gives back the `raw_bytes` bytes that were packed; memory use is bounded by that number.
    ///
    /// # Errors
    /// [`LogError::Unpack`] when `stored` is anything else.
    pub fn unpack(self, chunk: u64, stored: &[u8], raw_bytes: u32) -> Result<Vec<u8>, LogError> {
        match self {
            Self::Zstd => zstd::bulk::decompress(stored, raw_bytes as usize)
                .ok()
                .filter(|raw| raw.len() == raw_bytes as usize)
                .ok_or(LogError::Unpack { chunk, raw_bytes }),
        }
    }
}

/// Packs one chunk after the other with one compression context, whose tables are large enough to be worth keeping.
pub struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub fn new() -> Result<Self, LogError> {
        Ok(Self(zstd::bulk::Compressor::new(LEVEL)?))
    }

    pub fn pack(&mut self, raw: &[u8]) -> Result<Vec<u8>, LogError> {
        Ok(self.0.compress(raw)?)
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packer").field(&Codec::Zstd).finish()
    }
}
