//! The log file.
//!
//! ```text
//!   0        8       10      12           16           48           64
//!  +--------+-------+-------+------------+------------+------------+
//!  | magic  |version| zero  | body_bytes | body_sum   | head_sum   |  FileHeader
//!  +--------+-------+-------+------------+------------+------------+
//!  | body_bytes bytes: LogMeta as JSON                             |
//!  +---------------------------------------------------------------+
//!  | chunk 0, chunk 1, ... ; see `chunk`                           |
//!  +-------+------------+-------------+----------------------------+
//!  | magic | body_bytes | chunks      | records                    |  Footer
//!  +-------+------------+-------------+----------------------------+
//!  0       4            8             16                           24
//!  | chain                      | body_sum     | head_sum          |
//!  +----------------------------+--------------+-------------------+
//!  24                           56             72                  88
//!  | body_bytes bytes: Ending as JSON                              |
//!  +---------------------------------------------------------------+
//! ```
//!
//! Little endian. `version` is that of the record layout and is read before anything else is believed: another version says
//! nothing about what follows. Each `head_sum` covers the header before it, each `body_sum` the body, and the footer's
//! [`Chain`](super::Chain), which starts from the file header, covers all chunks in order: so a byte that was changed anywhere,
//! a chunk that was taken out or put in from another log, and a file that was cut short are each told by name. A log without
//! footer is one whose writer died, or is still at it: [`spool`](super::spool).

use bytemuck::{Pod, Zeroable};
use migrate_common::record::VERSION;

use super::chain::sum;
use super::error::{LogError, Part};

/// The first bytes of a log. The first is no text in any encoding.
pub const MAGIC: [u8; 8] = *b"\x8eMIGLOG\n";
/// The first bytes of the footer.
pub const END_MAGIC: [u8; 4] = *b"MEND";
/// The most that the JSON of either end may take.
pub const MAX_JSON_BYTES: u64 = 16 << 20;

/// The fixed part of a log's start, drawn above.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FileHeader {
    pub magic: [u8; 8],
    pub version: u16,
    pub zero: u16,
    pub body_bytes: u32,
    pub body_sum: [u8; 32],
    pub head_sum: [u8; 16],
}

/// The fixed part of a log's end, drawn above.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Footer {
    pub magic: [u8; 4],
    pub body_bytes: u32,
    pub chunks: u64,
    pub records: u64,
    pub chain: [u8; 32],
    pub body_sum: [u8; 16],
    pub head_sum: [u8; 16],
}

const _: () = assert!(size_of::<FileHeader>() == 64);
const _: () = assert!(std::mem::offset_of!(FileHeader, body_sum) == 16);
const _: () = assert!(std::mem::offset_of!(FileHeader, head_sum) == 48);
const _: () = assert!(size_of::<Footer>() == 88);
const _: () = assert!(std::mem::offset_of!(Footer, chain) == 24);
const _: () = assert!(std::mem::offset_of!(Footer, body_sum) == 56);
const _: () = assert!(std::mem::offset_of!(Footer, head_sum) == 72);

impl FileHeader {
    pub(super) fn new(body: &[u8]) -> Result<Self, LogError> {
        let mut head = Self {
            magic: MAGIC,
            version: VERSION,
            zero: 0,
            body_bytes: json_bytes(Part::Header, body.len() as u64)?,
            body_sum: *blake3::hash(body).as_bytes(),
            head_sum: [0; 16],
        };
        head.head_sum = sum(head.summed());
        Ok(head)
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        if self.magic != MAGIC {
            return Err(LogError::NotALog);
        }
        if self.version != VERSION {
            return Err(LogError::Version { found: self.version, want: VERSION });
        }
        if sum(self.summed()) != self.head_sum {
            return Err(LogError::Checksum(Part::Header));
        }
        json_bytes(Part::Header, self.body_bytes.into()).map(|_| ())
    }

    fn summed(&self) -> &[u8] {
        &bytemuck::bytes_of(self)[..std::mem::offset_of!(Self, head_sum)]
    }
}

impl Footer {
    pub(super) fn new(chunks: u64, records: u64, chain: [u8; 32], body: &[u8]) -> Result<Self, LogError> {
        let body_bytes = json_bytes(Part::End, body.len() as u64)?;
        let mut foot = Self { magic: END_MAGIC, body_bytes, chunks, records, chain, body_sum: sum(body), head_sum: [0; 16] };
        foot.head_sum = sum(foot.summed());
        Ok(foot)
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        if self.magic != END_MAGIC || sum(self.summed()) != self.head_sum {
            return Err(LogError::Checksum(Part::End));
        }
        json_bytes(Part::End, self.body_bytes.into()).map(|_| ())
    }

    fn summed(&self) -> &[u8] {
        &bytemuck::bytes_of(self)[..std::mem::offset_of!(Self, head_sum)]
    }
}

fn json_bytes(part: Part, bytes: u64) -> Result<u32, LogError> {
    if bytes > MAX_JSON_BYTES {
        return Err(LogError::Size { part, bytes, limit: MAX_JSON_BYTES });
    }
    Ok(bytes as u32)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
