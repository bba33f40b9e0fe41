//! A record as userspace holds it.

use migrate_common::record::{Class, HEADER_BYTES, Header, Kind, SEGMENT_BYTES, SegmentHeader, padded};

/// A header and its payload of segments; the layout is drawn in [`migrate_common::record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub head: Header,
    /// Segments, each padded to 8 bytes.
    pub payload: Vec<u8>,
}

/// A record whose payload lies elsewhere: in the ring's batch, in a chunk that was unpacked, in a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub head: Header,
    /// Segments, each padded to 8 bytes.
    pub payload: &'a [u8],
}

/// Bytes that the kernel wrote to user memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub addr: u64,
    pub bytes: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record cut short: {have} bytes, {need} needed")]
    Short { have: usize, need: usize },
    #[error("record of {0} bytes, which no record has")]
    Length(u32),
    #[error("record kind {0} is not known")]
    Kind(u8),
    #[error("file class {0} is not known")]
    Class(u8),
    #[error("segment of {len} bytes at payload offset {at} passes the record's end")]
    Segment { at: usize, len: usize },
}

impl<'a> RecordRef<'a> {
    /// The record at the start of `bytes`, checked whole, and how many bytes it took.
    ///
    /// # Errors
    /// [`RecordError`] unless `bytes` begins with a record.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), RecordError> {
        let Some(head) = bytes.get(..HEADER_BYTES) else {
            return Err(RecordError::Short { have: bytes.len(), need: HEADER_BYTES });
        };
        let head: Header = bytemuck::pod_read_unaligned(head);
        let len = head.len as usize;
        if len < HEADER_BYTES || !len.is_multiple_of(8) {
            return Err(RecordError::Length(head.len));
        }
        let Some(payload) = bytes.get(HEADER_BYTES..len) else {
            return Err(RecordError::Short { have: bytes.len(), need: len });
        };
        Kind::from_u8(head.kind).ok_or(RecordError::Kind(head.kind))?;
        Class::from_u8(head.class).ok_or(RecordError::Class(head.class))?;
        let record = Self { head, payload };
        record.check_segments()?;
        Ok((record, len))
    }

    /// As [`RecordRef::parse`], of bytes that were written from records and not changed since: only the length is looked at.
    /// The record, and what follows it.
    pub(crate) fn split_checked(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let head: Header = bytemuck::pod_read_unaligned(bytes.get(..HEADER_BYTES)?);
        let payload = bytes.get(HEADER_BYTES..head.len as usize)?;
        Some((Self { head, payload }, bytes.get(head.len as usize..)?))
    }

    /// The same record with a payload of its own.
    #[must_use]
    pub fn to_owned(self) -> Record {
        Record { head: self.head, payload: self.payload.to_vec() }
    }

    /// Appends the record's bytes.
    pub fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(bytemuck::bytes_of(&self.head));
        out.extend_from_slice(self.payload);
    }

    /// Bytes of header and payload.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// What the record tells. Checked when it was parsed; a record built by hand has a kind.
    #[must_use]
    pub const fn kind(self) -> Option<Kind> {
        Kind::from_u8(self.head.kind)
    }

    /// What the call's descriptor is.
    #[must_use]
    pub fn class(self) -> Class {
        Class::from_u8(self.head.class).unwrap_or(Class::Other)
    }

    /// The payload's segments.
    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let mut rest = self.payload;
        std::iter::from_fn(move || {
            let (segment, tail) = split_segment(rest)?;
            rest = tail;
            Some(segment)
        })
    }

    fn check_segments(self) -> Result<(), RecordError> {
        let mut rest = self.payload;
        while !rest.is_empty() {
            let Some((_, tail)) = split_segment(rest) else {
                return Err(RecordError::Segment { at: self.payload.len() - rest.len(), len: rest.len() });
            };
            rest = tail;
        }
        Ok(())
    }
}

impl Record {
    /// As [`RecordRef::parse`], with a payload of its own.
    ///
    /// # Errors
    /// As [`RecordRef::parse`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), RecordError> {
        RecordRef::parse(bytes).map(|(record, used)| (record.to_owned(), used))
    }

    /// The record without its payload's ownership.
    #[must_use]
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef { head: self.head, payload: &self.payload }
    }

    /// Appends the record's bytes.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.as_ref().write_to(out);
    }

    /// Bytes of header and payload.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// As [`RecordRef::kind`].
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        Kind::from_u8(self.head.kind)
    }

    /// As [`RecordRef::class`].
    #[must_use]
    pub fn class(&self) -> Class {
        self.as_ref().class()
    }

    /// Adds more of a payload that came in pieces, and keeps the header's length true.
    pub(crate) fn append(&mut self, payload: &[u8]) {
        self.payload.extend_from_slice(payload);
        self.head.len = u32::try_from(self.len_bytes()).unwrap_or(u32::MAX);
    }

    /// Adds a segment and keeps the header's length true.
    pub fn push_segment(&mut self, addr: u64, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.payload.extend_from_slice(bytemuck::bytes_of(&SegmentHeader { addr, len, zero: 0 }));
        self.payload.extend_from_slice(bytes);
        self.payload.resize(padded(self.payload.len()), 0);
        self.head.len = u32::try_from(self.len_bytes()).unwrap_or(u32::MAX);
    }

    /// The payload's segments.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.as_ref().segments()
    }
}

impl<'a> From<&'a Record> for RecordRef<'a> {
    fn from(record: &'a Record) -> Self {
        record.as_ref()
    }
}

fn split_segment(bytes: &[u8]) -> Option<(Segment<'_>, &[u8])> {
    let head: SegmentHeader = bytemuck::pod_read_unaligned(bytes.get(..SEGMENT_BYTES)?);
    let data = bytes.get(SEGMENT_BYTES..)?.get(..head.len as usize)?;
    let tail = bytes.get(SEGMENT_BYTES + padded(head.len as usize)..)?;
    Some((Segment { addr: head.addr, bytes: data }, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let head = Header { len: 96, kind: Kind::Syscall as u8, nr: 0, ret: 5, seq: 7, ..Header::default() };
        let mut record = Record { head, payload: Vec::new() };
        record.push_segment(0x1000, b"hello");
        record.push_segment(0x2000, &[1; 8]);
        record
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut bytes = Vec::new();
        record().write_to(&mut bytes);
        let (back, used) = Record::parse(&bytes).unwrap();
        assert_eq!((back.clone(), used), (record(), bytes.len()));
        let segments: Vec<_> = back.segments().map(|s| (s.addr, s.bytes.to_vec())).collect();
        assert_eq!(segments, [(0x1000, b"hello".to_vec()), (0x2000, vec![1; 8])]);
    }

    #[test]
    fn a_record_cut_anywhere_is_refused() {
        let mut bytes = Vec::new();
        record().write_to(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(Record::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_segment_past_the_end_is_refused() {
        let mut bytes = Vec::new();
        record().write_to(&mut bytes);
        bytes[HEADER_BYTES + 8] = 200;
        assert!(matches!(Record::parse(&bytes), Err(RecordError::Segment { .. })));
    }
}
