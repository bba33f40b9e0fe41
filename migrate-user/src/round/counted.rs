//! An input that knows how far it was read.

use super::error::LogError;
use bytemuck::Pod;
use std::io::{ErrorKind, Read, Seek};

/// Counts what it reads, so that an end in the wrong place is told by its position.
#[derive(Debug)]
pub(super) struct Counted<R> {
    input: R,
    pub(super) at: u64,
}

impl<R> Counted<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, at: 0 }
    }
}

impl<R: Read> Counted<R> {
    /// Reads until `buffer` is full or the input ends; how many bytes it got.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, LogError> {
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
    pub(super) fn read_after<T: Pod>(&mut self, first: &[u8]) -> Result<T, LogError> {
        let mut value = T::zeroed();
        let (done, rest) = bytemuck::bytes_of_mut(&mut value).split_at_mut(first.len());
        done.copy_from_slice(first);
        if self.fill(rest)? < rest.len() {
            return Err(LogError::CutShort { at: self.at });
        }
        Ok(value)
    }

    /// `bytes` bytes; allocates as they come, not as they are promised.
    pub(super) fn read_body(&mut self, bytes: u32) -> Result<Vec<u8>, LogError> {
        let mut body = Vec::new();
        let have = self.input.by_ref().take(bytes.into()).read_to_end(&mut body)?;
        self.at += have as u64;
        if have < bytes as usize {
            return Err(LogError::CutShort { at: self.at });
        }
        Ok(body)
    }

    pub(super) fn skip_rest(&mut self) -> Result<u64, LogError> {
        Ok(std::io::copy(&mut self.input, &mut std::io::sink())?)
    }
}

impl<R: Read + Seek> Counted<R> {
    /// Goes on behind `bytes` bytes, whether or not the input has them.
    pub(super) fn skip(&mut self, bytes: u32) -> Result<(), LogError> {
        self.input.seek_relative(bytes.into())?;
        self.at += u64::from(bytes);
        Ok(())
    }
}
