//! The reading end of a BPF ring buffer, mapped.
//!
//! ```text
//!  page 0                | page 1                | data, twice in a row
//!  consumer position     | producer position     | header u32 len|BUSY|DISCARD, u32 page, bytes padded to 8 ...
//!  read and written      | read                  | read
//! ```
//!
//! Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c. Beside what aya's reader offers this one tells how full the ring
//! is, and gives space back once a batch.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER_BYTES: usize = 8;

/// The only reader of a ring.
pub struct RingReader {
    fd: OwnedFd,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    bytes: usize,
    /// How far we have read; what the kernel knows of it lags by a batch.
    read: u64,
}

struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only `position` reaches memory, atomically.
unsafe impl Sync for Mapping {}

impl fmt::Debug for RingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingReader").field("bytes", &self.bytes).field("read", &self.read).finish_non_exhaustive()
    }
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: usize, len: usize, protection: i32) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: a new shared mapping at an address of the kernel's choice; no memory of ours is touched.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(at.cast()).map(|at| Self { at, len }).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
    }

    /// The position that this mapping starts with.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: the mapping is page-aligned, at least a page long, lives as long as `self`, and its first word is only
        // accessed atomically, here and in the kernel. The producer's is mapped read-only and is never stored to.
        unsafe { self.at.cast().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `at` and `len` are of a mapping that nothing else refers to: references live no longer than `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

impl RingReader {
    /// Maps the ring of `bytes` bytes.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn new(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        // SAFETY: sysconf takes no pointers.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let consumer = Mapping::new(fd, 0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(fd, page, page + 2 * bytes, libc::PROT_READ)?;
        let read = consumer.position().load(Ordering::Acquire);
        Ok(Self { fd: fd.try_clone_to_owned()?, consumer, producer, page, bytes, read })
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes
    }

    /// How far the programs have written or reserved. Every entry reserved before this call lies before it.
    #[must_use]
    pub fn produced(&self) -> u64 {
        self.producer.position().load(Ordering::Acquire)
    }

    /// How far [`RingReader::take`] has come.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.read
    }

    /// Bytes that wait in the ring.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.produced() - self.read
    }

    /// Hands up to about `limit` bytes of finished entries to `each`, in the ring's order, and gives their space back. Returns
    /// how many bytes that were. 0: the ring is empty, or its next entry is still being written.
    pub fn take(&mut self, limit: u64, mut each: impl FnMut(&[u8])) -> u64 {
        let start = self.read;
        let produced = self.produced();
        while self.read < produced && self.read - start < limit {
            let Some(header) = self.header() else { break };
            let len = (header & !(BUSY | DISCARD)) as usize;
            if header & DISCARD == 0 {
                each(self.data(self.read + HEADER_BYTES as u64, len));
            }
            self.read += (HEADER_BYTES + len.next_multiple_of(8)) as u64;
        }
        self.consumer.position().store(self.read, Ordering::Release);
        self.read - start
    }

    /// The header of the next entry, if it is finished.
    fn header(&self) -> Option<u32> {
        let at = self.page + self.offset(self.read);
        // SAFETY: entries are 8-byte aligned and `at` lies within the data pages of the mapping; the word is written by the
        // kernel atomically.
        let header = unsafe { self.producer.at.add(at).cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
        (header & BUSY == 0).then_some(header)
    }

    fn data(&self, position: u64, len: usize) -> &[u8] {
        let at = self.page + self.offset(position);
        let len = len.min(self.bytes);
        // SAFETY: `at` lies within the first of the two mappings of the data pages and `len` is at most one's length, so the
        // slice lies within the mapping. The kernel does not write to a finished entry before the consumer position has
        // passed it, which happens only when `take`, whose borrow this is, returns.
        unsafe { std::slice::from_raw_parts(self.producer.at.add(at).as_ptr(), len) }
    }

    fn offset(&self, position: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the bits below the ring's size count")]
        let position = position as usize;
        position & (self.bytes - 1)
    }
}

/// Tells how full a ring is, to others than its reader.
pub struct RingLevel {
    consumer: Mapping,
    producer: Mapping,
}

impl RingLevel {
    /// # Errors
    /// As mmap(2).
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: sysconf takes no pointers.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let consumer = Mapping::new(fd, 0, page, libc::PROT_READ)?;
        Ok(Self { consumer, producer: Mapping::new(fd, page, page, libc::PROT_READ)? })
    }

    /// Bytes that the reader has not given back yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        // In this order: the producer is never behind what the consumer was.
        let consumed = self.consumer.position().load(Ordering::Acquire);
        self.producer.position().load(Ordering::Acquire) - consumed
    }
}

impl fmt::Debug for RingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingLevel").field("waiting", &self.waiting()).finish()
    }
}

impl AsFd for RingReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
