//! A mapping that unmaps itself.

use std::ptr::null_mut;

use crate::kit::Result;

/// The size of a page.
pub const PAGE: usize = 4096;

/// A mapping of this process.
#[derive(Debug)]
pub struct Map {
    start: *mut u8,
    len: usize,
}

impl Map {
    /// Maps a file, or nothing when `fd` is -1.
    pub fn new(len: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> Result<Self> {
        let start = sys!(mmap(null_mut(), len, protection, flags, fd, offset))?;
        Ok(Self { start: start.cast(), len })
    }

    /// Private memory of zeros, readable and writable.
    pub fn zeros(len: usize) -> Result<Self> {
        Self::new(len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// Its first byte.
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// The byte at an offset inside.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.len, "offset {offset} of {}", self.len);
        self.start.wrapping_add(offset)
    }

    /// Its bytes, for reading. The range must be readable.
    pub fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len, "range {range:?} of {}", self.len);
        // SAFETY: inside the mapping; guests are single-threaded and write only by `put`, which borrows the map too.
        unsafe { std::slice::from_raw_parts(self.at(range.start), range.len()) }
    }

    /// Writes bytes. The range must be writable.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len, "offset {offset} of {}", self.len);
        // SAFETY: inside the mapping, which nobody else borrows.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.at(offset), bytes.len()) };
    }

    /// Takes over what `mremap` made of it.
    pub fn moved(&mut self, start: *mut std::ffi::c_void, len: usize) {
        self.start = start.cast();
        self.len = len;
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: nobody has a pointer into it any more; parts that a guest unmapped by itself do not matter.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
