//! Frames: how a message lies on the wire.
//!
//! ```text
//!   0            4       6       8                     16
//!  +------------+-------+-------+---------------------+-----------------------+
//!  | body_bytes | kind  | zero  | sum                 | body, postcard        |
//!  +------------+-------+-------+---------------------+-----------------------+
//! ```
//!
//! Little endian. `sum` is a quarter of a blake3 over the body: TCP's own checksum lets too much through for bytes that
//! become a program's memory. The kind bounds the body's size before anything is allocated for it.

use bytemuck::{Pod, Zeroable};

use super::error::WireError;
use super::message::{Kind, Message};

/// The fixed part of a frame, drawn above.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FrameHeader {
    pub body_bytes: u32,
    pub kind: u16,
    pub zero: u16,
    pub sum: [u8; 8],
}

/// Bytes of a [`FrameHeader`].
pub const HEADER_BYTES: usize = size_of::<FrameHeader>();
const _: () = assert!(HEADER_BYTES == 16);
const _: () = assert!(std::mem::offset_of!(FrameHeader, kind) == 4);
const _: () = assert!(std::mem::offset_of!(FrameHeader, sum) == 8);

impl FrameHeader {
    fn check(&self) -> Result<Kind, WireError> {
        let kind = Kind::from_u16(self.kind).ok_or(WireError::Kind(self.kind))?;
        if self.body_bytes as usize > kind.max_bytes() {
            return Err(WireError::Size { kind, bytes: self.body_bytes.into(), limit: kind.max_bytes() as u64 });
        }
        Ok(kind)
    }
}

/// The frame of a message.
///
/// # Errors
/// [`WireError::Size`] when the body exceeds its kind's limit.
pub fn encode(message: &Message) -> Result<Vec<u8>, WireError> {
    let kind = message.kind();
    let mut bytes = message.body_to(vec![0; HEADER_BYTES]).map_err(|e| WireError::Decode(kind, e))?;
    let body = &bytes[HEADER_BYTES..];
    let size = |bytes: usize| WireError::Size { kind, bytes: bytes as u64, limit: kind.max_bytes() as u64 };
    let body_bytes = u32::try_from(body.len()).map_err(|_| size(body.len()))?;
    let head = FrameHeader { body_bytes, kind: kind as u16, zero: 0, sum: sum(body) };
    head.check()?;
    bytes[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&head));
    Ok(bytes)
}

/// The message at the start of `bytes`, and how many bytes its frame took; `None` when `bytes` are only a frame's beginning.
///
/// # Errors
/// [`WireError`] for everything that no [`encode`] has made; the connection is of no use then.
pub fn decode(bytes: &[u8]) -> Result<Option<(Message, usize)>, WireError> {
    let Some(head) = bytes.get(..HEADER_BYTES) else { return Ok(None) };
    let head: FrameHeader = bytemuck::pod_read_unaligned(head);
    let kind = head.check()?;
    let end = HEADER_BYTES + head.body_bytes as usize;
    let Some(body) = bytes.get(HEADER_BYTES..end) else { return Ok(None) };
    if sum(body) != head.sum {
        return Err(WireError::Checksum(kind));
    }
    Ok(Some((Message::from_body(kind, body)?, end)))
}

fn sum(body: &[u8]) -> [u8; 8] {
    let [first, ..] = bytemuck::cast::<[u8; 32], [[u8; 8]; 4]>(*blake3::hash(body).as_bytes());
    first
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
