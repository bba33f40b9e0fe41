//! What a record costs between the ring and the chunk. Prints; run it optimised:
//! `cargo test --release -p migrate-user --lib what_a_record_costs -- --ignored --nocapture`.

use std::sync::{Arc, mpsc};

use super::batch::Buffers;
use super::slots::Slots;
use super::{Assembler, Batch, Event, thread_cpu_ns};
use crate::record::RecordRef;
use crate::replay::screen;
use crate::round::chunk::ChunkBuilder;
use crate::round::policy::CHUNK_BYTES;
use crate::round::synthetic::Synthetic;

const REQUESTS: usize = 200_000;
const SLOT: u32 = 3;
/// What a busy server's ring holds after a few ms.
const BATCH_BYTES: usize = 256 << 10;

/// A ring's entries, with one of so many swapped with the next, as two CPUs do it. 0: none.
fn ring(swapped: usize) -> (Vec<u8>, u64) {
    let mut records = Synthetic::new(1).requests(REQUESTS);
    if swapped > 0 {
        records.chunks_exact_mut(swapped).for_each(|records| records.swap(0, 1));
    }
    let mut ring = Vec::new();
    for record in &mut records {
        record.head.slot = SLOT;
        record.write_to(&mut ring);
    }
    (ring, records.len() as u64)
}

/// The drain's part: entries into batches.
fn drained(ring: &[u8], sink: impl FnMut(Batch) + Send + 'static) {
    let mut slots = Slots::new(Arc::new(Buffers::default()));
    slots.add(SLOT, Box::new(sink));
    let (mut rest, mut taken) = (ring, 0);
    while let Ok((entry, used)) = RecordRef::parse(rest) {
        slots.push(entry);
        (rest, taken) = (&rest[used..], taken + used);
        if taken >= BATCH_BYTES {
            slots.deliver();
            taken = 0;
        }
    }
    slots.deliver();
}

/// The log thread's part without zstd: ns in order, looked at and taken up, bytes packed or not. `depth`: how much of it.
fn logged(batches: mpsc::Receiver<Batch>, depth: usize) -> (u64, u64) {
    let (mut assembler, mut chunk) = (Assembler::new(), ChunkBuilder::new().unwrap());
    let (mut spent, mut records, mut chunks) = (0, 0, 0);
    for batch in batches {
        let begun = thread_cpu_ns();
        assembler.feed(&batch, |event| {
            let Event::Record(record) = event else { panic!("{event:?}") };
            records += 1;
            if depth > 0 && screen::objection(record).is_some() {
                panic!("{record:?}");
            }
            if depth > 1 {
                chunk.push(record).unwrap();
            }
        });
        drop(batch);
        spent += thread_cpu_ns() - begun;
        if chunk.raw_bytes() >= CHUNK_BYTES {
            let begun = thread_cpu_ns();
            chunk.seal(chunks).unwrap();
            chunks += 1;
            spent += if depth > 2 { thread_cpu_ns() - begun } else { 0 };
        }
    }
    (spent, records)
}

#[test]
#[ignore = "prints measurements"]
fn what_a_record_costs() {
    println!("ns a record: drain | order | + screen | + chunk | + seal");
    for swapped in [0, 10, 2] {
        let (ring, n) = ring(swapped);
        let mut line = String::new();
        for depth in 0..4 {
            let (sender, receiver) = mpsc::channel();
            let log = std::thread::spawn(move || logged(receiver, depth));
            let begun = thread_cpu_ns();
            drained(&ring, move |batch| drop(sender.send(batch)));
            let drain = thread_cpu_ns() - begun;
            let (spent, records) = log.join().unwrap();
            assert_eq!(records, n);
            if depth == 0 {
                line = format!("{} bytes each, one in {swapped} swapped: {}", ring.len() as u64 / n, drain / n);
            }
            line += &format!(" | {}", spent / n);
        }
        println!("{line}");
    }
}
