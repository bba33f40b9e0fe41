//! What each step of the encoding gains. Not promises, so not run by themselves.

use std::time::Instant;

use super::varint::{delta, put, zigzag};
use super::*;
use crate::record::{Record, RecordRef};
use crate::ring::Batch;
use crate::round::codec::{LEVEL, Packer};
use crate::round::synthetic::Synthetic;
use crate::round::{Codec, LogError, LogReader};

/// A fixed number to which clocks' calls are moved, so that their readings are bytes like others.
const NO_CLOCK: i32 = 10_000;
/// How often each time is taken.
const TIMES: usize = 5;

/// The synthetic server's records, and those of the logs in MIGRATE_LOGS (paths, separated by colons).
fn workloads() -> Vec<(String, Vec<Record>)> {
    let mut all = vec![("synthetic".to_owned(), Synthetic::new(7).requests(50_000))];
    for path in std::env::var("MIGRATE_LOGS").iter().flat_map(|paths| paths.split(':')) {
        let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut reader = LogReader::new(std::io::BufReader::new(file)).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next_records() {
                Ok(Some(mut more)) => records.append(&mut more),
                // A spool that is still written has no footer yet.
                Ok(None) | Err(LogError::CutShort { .. }) => break,
                Err(error) => panic!("{path}: {error}"),
            }
        }
        all.push((path.rsplit('/').next().unwrap_or(path).to_owned(), records));
    }
    all
}

/// Runs of records with about so many plain bytes: what a chunk holds.
fn chunks(records: &[Record], bytes: usize) -> Vec<&[Record]> {
    let (mut all, mut start, mut sum) = (Vec::new(), 0, 0);
    for (i, record) in records.iter().enumerate() {
        sum += record.len_bytes();
        if sum >= bytes || i + 1 == records.len() {
            all.push(&records[start..=i]);
            (start, sum) = (i + 1, 0);
        }
    }
    all
}

fn plain(records: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    records.iter().for_each(|record| record.write_to(&mut out));
    out
}

/// Every field a number, segments without padding; `base` gives what each number is told from.
fn numbers(records: &[Record], mut base: impl FnMut(&Record) -> Record) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let (head, old) = (&record.head, base(record).head);
        out.extend_from_slice(&[head.kind, head.class]);
        for (new, old) in [
            (head.flags.into(), old.flags.into()),
            (head.tid.into(), old.tid.into()),
            (head.seq, old.seq),
            (head.time_ns, old.time_ns),
            (i64::from(head.nr).cast_unsigned(), i64::from(old.nr).cast_unsigned()),
            (head.ret.cast_unsigned(), old.ret.cast_unsigned()),
        ] {
            put(&mut out, delta(new, old));
        }
        head.args.iter().zip(old.args).for_each(|(&new, old)| put(&mut out, delta(new, old)));
        put(&mut out, record.segments().count() as u64);
        for segment in record.segments() {
            put(&mut out, zigzag(segment.addr.cast_signed()));
            put(&mut out, segment.bytes.len() as u64);
            out.extend_from_slice(segment.bytes);
        }
    }
    out
}

/// Numbers told from the record before, arguments and result from the last of the same call and task.
fn deltas(records: &[Record]) -> Vec<u8> {
    let mut before = Record { head: Default::default(), payload: Vec::new() };
    let mut alike = std::collections::HashMap::new();
    numbers(records, |record| {
        let mut base = Record { head: before.head, payload: Vec::new() };
        let same = alike.insert((record.head.tid, record.head.kind, record.head.nr), record.head).unwrap_or_default();
        (base.head.args, base.head.ret) = (same.args, same.ret);
        before.head = record.head;
        base
    })
}

fn compact(records: &[Record]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    records.iter().for_each(|record| encoder.push(record.as_ref()));
    encoder.take()
}

fn without_clocks(records: &[Record]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for record in records {
        let RecordRef { mut head, payload } = record.as_ref();
        head.nr += if segment::Unit::of(context::What::of(&head)).is_some() { NO_CLOCK } else { 0 };
        encoder.push(RecordRef { head, payload });
    }
    encoder.take()
}

fn median_ns(records: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..TIMES)
        .map(|_| {
            let before = Instant::now();
            work();
            before.elapsed().as_secs_f64() * 1e9 / records as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[TIMES / 2]
}

#[test]
#[ignore = "a measurement"]
fn steps() {
    println!("bytes a record, chunks of 1 MiB");
    println!(
        "workload, records, plain, varint, delta, interned, clocks; zstd of: plain, varint, delta, interned, clocks in frames"
    );
    for (name, records) in workloads() {
        let n = records.len() as f64;
        let chunks = chunks(&records, 1 << 20);
        let mut zstd = zstd::bulk::Compressor::new(LEVEL).unwrap();
        type Form = fn(&[Record]) -> Vec<u8>;
        let forms: [(Form, bool); 5] = [
            (plain, false),
            (|r| numbers(r, |_| Record { head: Default::default(), payload: Vec::new() }), false),
            (deltas, false),
            (without_clocks, true),
            (compact, true),
        ];
        let mut packer = Packer::new().unwrap();
        let sizes = forms.map(|(form, frames)| {
            let (mut encoded, mut stored) = (0, 0);
            for chunk in &chunks {
                let bytes = form(chunk);
                encoded += bytes.len();
                stored += if frames { packer.pack(&bytes).unwrap().len() } else { zstd.compress(&bytes).unwrap().len() };
            }
            (encoded as f64 / n, stored as f64 / n)
        });
        print!("{name:16} {n:8}");
        sizes.iter().for_each(|(encoded, _)| print!(" {encoded:7.1}"));
        print!(" ;");
        sizes.iter().for_each(|(_, stored)| print!(" {stored:6.2}"));
        println!();
    }
}

#[test]
#[ignore = "a measurement"]
fn times() {
    println!("ns a record, medians of {TIMES}: encode, pack, unpack and decode; pack of plain bytes, unpack and parse");
    for (name, records) in workloads() {
        let n = records.len();
        let chunks = chunks(&records, 1 << 20);
        let (mut encoder, mut packer) = (Encoder::new(), Packer::new().unwrap());
        let mut zstd = zstd::bulk::Compressor::new(LEVEL).unwrap();
        let mut buffer = Vec::new();
        // One after the other in memory, as batches of the ring have them.
        let batches: Vec<Batch> = chunks
            .iter()
            .map(|chunk| {
                let mut batch = Batch::new();
                chunk.iter().for_each(|record| batch.push(record.as_ref()));
                batch
            })
            .collect();
        let encode = median_ns(n, || {
            for batch in &batches {
                batch.entries().for_each(|record| encoder.push(record));
                encoder.take_into(&mut buffer);
            }
        });
        let encoded: Vec<_> = chunks.iter().map(|chunk| compact(chunk)).collect();
        let pack = median_ns(n, || encoded.iter().for_each(|bytes| drop(packer.pack(bytes).unwrap())));
        let raws: Vec<_> = chunks.iter().map(|chunk| plain(chunk)).collect();
        let pack_plain = median_ns(n, || raws.iter().for_each(|bytes| drop(zstd.compress(bytes).unwrap())));
        let read = |packed: &[Vec<u8>], unpack: fn(&[u8], usize)| {
            median_ns(n, || packed.iter().zip(&raws).for_each(|(packed, raw)| unpack(packed, raw.len())))
        };
        let packed: Vec<_> = encoded.iter().map(|bytes| packer.pack(bytes).unwrap()).collect();
        let packed_plain: Vec<_> = raws.iter().map(|bytes| zstd.compress(bytes).unwrap()).collect();
        let read_compact = read(&packed, |packed, bytes| drop(Codec::Compact.unpack(0, packed, bytes as u32).unwrap()));
        let read_plain = read(&packed_plain, |packed, bytes| {
            let raw = zstd::bulk::decompress(packed, bytes).unwrap();
            let mut at = 0;
            while at < raw.len() {
                at += Record::parse(&raw[at..]).unwrap().1;
            }
        });
        println!("{name:16} {encode:6.1} {pack:6.1} {read_compact:6.1} ; {pack_plain:6.1} {read_plain:6.1}");
    }
}

#[test]
#[ignore = "a measurement"]
fn levels() {
    println!("bytes a record and ns a record to pack");
    for (name, records) in workloads() {
        for chunk_bytes in [64 << 10, 256 << 10, 1 << 20, 4 << 20] {
            let encoded: Vec<_> = chunks(&records, chunk_bytes).into_iter().map(compact).collect();
            print!("{name:16} {:5} KiB", chunk_bytes >> 10);
            for level in [-1, 1, 3, 6, 9] {
                let mut packer = Packer::with_level(level).unwrap();
                let stored: usize = encoded.iter().map(|bytes| packer.pack(bytes).unwrap().len()).sum();
                let ns = median_ns(records.len(), || encoded.iter().for_each(|bytes| drop(packer.pack(bytes).unwrap())));
                print!(" | level {level}: {:.2} B {ns:.0} ns", stored as f64 / records.len() as f64);
            }
            println!();
        }
    }
}
