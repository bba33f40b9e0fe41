//! Orders, encodes and compresses what containers' records are, as a migration does, and drops the result.
//!
//! One thread for all containers. The drain's sinks hand it batches through a bounded queue: while it is behind, records
//! wait in the ring, whose fill is shown, and where that overflows it is a loss that is counted.

use super::RatesError;
use super::order::Order;
use super::sample::GroupSample;
use super::tally::Tallies;
use crate::record::RecordRef;
use crate::ring::Batch;
use crate::round::policy::CloseRule;
use crate::round::{Encoder, Packer, chunk};
use migrate_common::syscalls::GroupSet;
use std::collections::HashMap;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Batches on their way to the thread; the drain makes them of up to a megabyte.
const QUEUE: usize = 64;

/// What was measured of a container since the last cut.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) groups: Vec<GroupSample>,
    /// Records that never came, since the attach.
    pub(super) missing: u64,
}

enum Input {
    Batch(u32, Batch),
    Cut(u32, GroupSet, mpsc::Sender<Result<Cut, RatesError>>),
    Forget(u32),
}

/// The thread. It ends when this and every sink is dropped.
#[derive(Debug)]
pub(super) struct Meter {
    inputs: mpsc::SyncSender<Input>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    pub(super) fn start() -> Result<Self, RatesError> {
        let (inputs, queue) = mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("meter".into()).spawn(move || run(&queue));
        let thread = thread.map_err(RatesError::io("the thread that encodes records cannot be started"))?;
        Ok(Self { inputs, thread: Some(thread) })
    }

    /// Takes a slot's batches.
    pub(super) fn sink(&self, slot: u32) -> crate::ring::Sink {
        let inputs = self.inputs.clone();
        // A thread that has ended says so at the next cut.
        Box::new(move |batch| drop(inputs.send(Input::Batch(slot, batch))))
    }

    /// Closes the slot's chunk and takes what was measured of everything that its sink has been given.
    pub(super) fn cut(&self, slot: u32, groups: GroupSet) -> Result<Cut, RatesError> {
        let (reply, answer) = mpsc::channel();
        self.inputs.send(Input::Cut(slot, groups, reply)).map_err(|_| RatesError::Ended)?;
        answer.recv().map_err(|_| RatesError::Ended)?
    }

    /// Drops what is known of a slot, whose sink has been removed.
    pub(super) fn forget(&self, slot: u32) {
        drop(self.inputs.send(Input::Forget(slot)));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let (closed, _) = mpsc::sync_channel(0);
        self.inputs = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that encodes records had panicked");
        }
    }
}

fn run(queue: &mpsc::Receiver<Input>) {
    let mut logs: HashMap<u32, Log> = HashMap::new();
    while let Ok(input) = queue.recv() {
        match input {
            Input::Batch(slot, batch) => logs.entry(slot).or_default().batch(&batch),
            Input::Cut(slot, groups, reply) => drop(reply.send(logs.entry(slot).or_default().cut(groups))),
            Input::Forget(slot) => drop(logs.remove(&slot)),
        }
    }
}

/// One container's log, of which only the size is kept.
#[derive(Default)]
struct Log {
    order: Order,
    chunk: OpenChunk,
    /// The first failure to pack; it is told at the next cut.
    failed: Option<RatesError>,
}

/// The chunk that is being collected.
#[derive(Default)]
struct OpenChunk {
    encoder: Encoder,
    packer: Option<Packer>,
    tallies: Tallies,
    raw_bytes: usize,
    since: Option<Instant>,
}

impl Log {
    fn batch(&mut self, batch: &Batch) {
        let now = Instant::now();
        let Self { order, chunk, failed } = self;
        let mut each = |record: RecordRef<'_>| {
            if let Err(error) = chunk.push(record, now) {
                failed.get_or_insert(error);
            }
        };
        for entry in batch.entries() {
            order.entry(entry, &mut each);
        }
        if let Some(below) = batch.drained_below() {
            order.drained(below, &mut each);
        }
    }

    fn cut(&mut self, groups: GroupSet) -> Result<Cut, RatesError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.chunk.seal()?;
        Ok(Cut { groups: self.chunk.tallies.take(groups, true), missing: self.order.missing() })
    }
}

impl OpenChunk {
    fn push(&mut self, record: RecordRef<'_>, now: Instant) -> Result<(), RatesError> {
        let before = self.encoder.encoded_bytes();
        self.encoder.push(record);
        self.tallies.record(record, (self.encoder.encoded_bytes() - before) as u64);
        self.raw_bytes += record.len_bytes();
        let since = *self.since.get_or_insert(now);
        if CloseRule::RECORDING.closes(self.raw_bytes, now.saturating_duration_since(since)) { self.seal() } else { Ok(()) }
    }

    /// Compresses the chunk, and drops it.
    fn seal(&mut self) -> Result<(), RatesError> {
        self.raw_bytes = 0;
        self.since = None;
        if self.encoder.records() == 0 {
            return Ok(());
        }
        let encoded = self.encoder.take();
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(Packer::new()?),
        };
        let stored_bytes = chunk::HEADER_BYTES + packer.pack(&encoded)?.len();
        self.tallies.sealed(stored_bytes as u64);
        Ok(())
    }
}
