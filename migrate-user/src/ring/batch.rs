//! What passes from the drain to a container's sink.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::record::RecordRef;

/// Spare buffers that are kept: as many as are on their way between two threads that keep up with each other.
const SPARES: usize = 8;

/// Entries of one container in the ring's order, whole and back to back in one buffer. The drain takes the buffer back when
/// the batch is dropped.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: u64,
    drained_below: Option<u64>,
    home: Option<Arc<Buffers>>,
}

impl Batch {
    /// An empty one, for entries that come from elsewhere than a drain.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: RecordRef<'_>) {
        entry.write_to(&mut self.bytes);
        self.entries += 1;
    }

    /// Says that every record numbered below this is among the entries up to here, or lost.
    pub fn mark(&mut self, drained_below: u64) {
        self.drained_below = Some(drained_below);
    }

    /// The entries: records, and pieces of such ([`migrate_common::record::Kind::Piece`]).
    pub fn entries(&self) -> impl Iterator<Item = RecordRef<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (entry, tail) = RecordRef::split_checked(rest)?;
            rest = tail;
            Some(entry)
        })
    }

    /// See [`Batch::mark`].
    #[must_use]
    pub fn drained_below(&self) -> Option<u64> {
        self.drained_below
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there is neither an entry nor a mark.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0 && self.drained_below.is_none()
    }

    /// Bytes of the entries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("entries", &self.entries)
            .field("bytes", &self.bytes.len())
            .field("drained_below", &self.drained_below)
            .finish()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

/// The drain's buffers: it fills them, sinks hold them, and they come back.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    spare: Mutex<Vec<Vec<u8>>>,
    queued_bytes: AtomicU64,
}

impl Buffers {
    /// Takes what was collected out of `batch`, for its sink. What is collected next goes into a buffer that came back.
    pub(super) fn send_off(self: &Arc<Self>, batch: &mut Batch) -> Batch {
        self.queued_bytes.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
        let mut next = Batch::new();
        next.bytes = self.spares().pop().unwrap_or_default();
        let mut full = std::mem::replace(batch, next);
        full.home = Some(Arc::clone(self));
        full
    }

    /// Bytes of entries that sinks were given and have not dropped.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        self.queued_bytes.fetch_sub(buffer.len() as u64, Ordering::Relaxed);
        buffer.clear();
        let mut spare = self.spares();
        if buffer.capacity() > 0 && spare.len() < SPARES {
            spare.push(buffer);
        }
    }

    fn spares(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        // Whoever panicked with it left buffers in it, each of them good.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round::synthetic::Synthetic;

    #[test]
    fn a_batch_gives_its_entries_as_they_were_pushed() {
        let records = Synthetic::new(5).requests(3);
        let mut batch = Batch::new();
        records.iter().for_each(|record| batch.push(record.as_ref()));
        assert_eq!(batch.entries().map(RecordRef::to_owned).collect::<Vec<_>>(), records);
        assert_eq!((batch.len(), batch.is_empty()), (records.len() as u64, false));
    }

    #[test]
    fn a_buffer_serves_again_once_its_batch_is_dropped() {
        let record = Synthetic::new(5).request().remove(0);
        let buffers = Arc::new(Buffers::default());
        let mut collecting = Batch::new();
        collecting.push(record.as_ref());
        let sent = buffers.send_off(&mut collecting);
        assert!(collecting.is_empty());
        assert_eq!(buffers.queued_bytes(), record.len_bytes() as u64);
        let buffer = sent.bytes.as_ptr();
        drop(sent);
        assert_eq!(buffers.queued_bytes(), 0);
        collecting.push(record.as_ref());
        let _other = buffers.send_off(&mut collecting);
        collecting.push(record.as_ref());
        assert_eq!(collecting.bytes.as_ptr(), buffer, "the buffer that came back is filled again");
    }
}
