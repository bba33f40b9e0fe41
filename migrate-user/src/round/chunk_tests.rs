use migrate_common::record::Kind;
use proptest::prelude::*;

use super::super::compact::CompactError;
use super::super::synthetic::Synthetic;
use super::*;

const GOLDEN: &[u8] = include_bytes!("golden/exec-and-request.chunk");

fn golden_records() -> Vec<Record> {
    let mut synthetic = Synthetic::new(1);
    [synthetic.exec(), synthetic.request()].concat()
}

/// What only an incompatible change makes fail: raise `VERSION` then, and write the file anew (the ignored test below).
#[test]
fn a_chunk_of_this_version_written_long_ago_still_reads() {
    let chunk = Chunk::parse(GOLDEN.to_vec()).unwrap();
    assert_eq!(chunk.records().unwrap(), golden_records());
    assert_eq!(&GOLDEN[..8], b"MCHK\x03\0\x02\0");
    // n 3, records 0 to 6, of which one is the image's: 8 in 7 numbers.
    let numbers: Vec<u64> = GOLDEN[8..40].chunks(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(numbers, [3, 0, 6, 8]);
    let raw_bytes: usize = golden_records().iter().map(Record::len_bytes).sum();
    assert_eq!(GOLDEN[40..44], (raw_bytes as u32).to_le_bytes());
    assert_eq!(GOLDEN[44..48], ((GOLDEN.len() - HEADER_BYTES) as u32).to_le_bytes());
}

#[test]
#[ignore = "writes the golden file"]
fn write_golden() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/round/golden/exec-and-request.chunk");
    std::fs::write(path, Chunk::encode(3, &golden_records()).unwrap().as_bytes()).unwrap();
}

#[test]
fn a_chunk_cut_anywhere_is_cut_short() {
    for cut in 0..GOLDEN.len() {
        let error = Chunk::parse(GOLDEN[..cut].to_vec()).unwrap_err();
        assert!(matches!(error, LogError::CutShort { at } if at == cut as u64), "cut at {cut}: {error}");
    }
}

#[test]
fn a_chunk_with_bytes_behind_it_is_refused() {
    let error = Chunk::parse([GOLDEN, &[0]].concat()).unwrap_err();
    assert!(matches!(error, LogError::Trailing { bytes: 1, .. }));
}

#[test]
fn any_changed_byte_is_a_checksum_error() {
    for at in 0..GOLDEN.len() {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] ^= 0x10;
        let error = Chunk::parse(bytes).unwrap_err();
        assert!(matches!(error, LogError::Checksum(_)), "byte {at}: {error}");
    }
}

#[test]
fn a_chunk_of_another_version_is_told_from_a_damaged_one() {
    let mut head: ChunkHeader = bytemuck::pod_read_unaligned(&GOLDEN[..HEADER_BYTES]);
    head.version = VERSION + 1;
    head.head_sum = sum(&bytemuck::bytes_of(&head)[..SUMMED_BYTES]);
    let bytes = [bytemuck::bytes_of(&head), &GOLDEN[HEADER_BYTES..]].concat();
    assert!(matches!(Chunk::parse(bytes), Err(LogError::Version { found, .. }) if found == VERSION + 1));
}

/// A header that lies, with sums that hold: what a broken or hostile peer can send.
fn forged(change: impl FnOnce(&mut ChunkHeader)) -> Result<Vec<Record>, LogError> {
    let mut head: ChunkHeader = bytemuck::pod_read_unaligned(&GOLDEN[..HEADER_BYTES]);
    change(&mut head);
    head.head_sum = sum(&bytemuck::bytes_of(&head)[..SUMMED_BYTES]);
    Chunk::parse([bytemuck::bytes_of(&head), &GOLDEN[HEADER_BYTES..]].concat())?.records()
}

#[test]
fn a_header_that_lies_about_its_records_is_refused() {
    assert!(matches!(forged(|h| h.records += 1), Err(LogError::Contents { chunk: 3 })));
    assert!(matches!(forged(|h| h.first_seq = 1), Err(LogError::Contents { .. })));
    assert!(matches!(forged(|h| h.last_seq = 9), Err(LogError::Contents { .. })));
    assert!(matches!(forged(|h| h.records = 0), Err(LogError::Empty { chunk: 3 })));
    assert!(matches!(forged(|h| h.raw_bytes += 8), Err(LogError::Unpack { .. })));
    assert!(matches!(forged(|h| h.raw_bytes -= 8), Err(LogError::Compact { source: CompactError::Size { .. }, .. })));
    assert!(matches!(forged(|h| h.raw_bytes = 0), Err(LogError::Unpack { .. })));
    for codec in [0, 1, 3] {
        assert!(matches!(forged(|h| h.codec = codec), Err(LogError::Codec { codec: named, .. }) if named == codec));
    }
}

#[test]
fn a_chunk_that_promises_more_than_the_limit_is_not_unpacked() {
    assert!(matches!(forged(|h| h.raw_bytes = u32::MAX), Err(LogError::Size { .. })));
    assert!(matches!(forged(|h| h.stored_bytes = u32::MAX), Err(LogError::Size { .. })));
}

#[test]
fn host_only_numbers_are_not_stored() {
    let mut record = golden_records().remove(0);
    (record.head.slot, record.head.host_tid) = (3, 4711);
    let back = Chunk::encode(0, &[record]).unwrap().records().unwrap();
    assert_eq!((back[0].head.slot, back[0].head.host_tid), (0, 0));
}

#[test]
fn a_builder_keeps_the_order_across_chunks_and_survives_a_refusal() {
    let mut synthetic = Synthetic::new(1);
    let records = [synthetic.exec(), synthetic.requests(2)].concat();
    let mut builder = ChunkBuilder::new().unwrap();
    builder.push(&records[0]).unwrap();
    let first = builder.seal(0).unwrap().unwrap();
    // The image of the exec that the first chunk ends with.
    builder.push(&records[1]).unwrap();
    assert!(matches!(builder.push(&records[3]), Err(LogError::Order { expected: 1, found: 2 })));
    builder.push(&records[2]).unwrap();
    let second = builder.seal(1).unwrap().unwrap();
    assert_eq!(builder.seal(2).unwrap(), None);
    assert_eq!([first.records().unwrap(), second.records().unwrap()].concat(), records[..3]);
}

proptest! {
    #[test]
    fn records_read_back_as_they_were_packed(seed: u64, n in 0..u64::MAX, requests in 1usize..40) {
        let mut synthetic = Synthetic::new(seed);
        let records = [synthetic.exec(), synthetic.requests(requests)].concat();
        let chunk = Chunk::encode(n, &records).unwrap();
        prop_assert_eq!(chunk.header().n, n);
        prop_assert_eq!(Chunk::parse(chunk.into_bytes()).unwrap().records().unwrap(), records);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>, as_chunk: bool, at in 0..GOLDEN.len()) {
        if as_chunk {
            bytes = [&GOLDEN[..at], &bytes].concat();
        }
        if let Ok(chunk) = Chunk::parse(bytes) {
            let _records = chunk.records();
        }
    }

    #[test]
    fn no_body_makes_the_unpacking_panic(body: Vec<u8>, raw_bytes in 0u32..1 << 16, records in 1u64..9) {
        let mut head = ChunkHeader {
            magic: MAGIC, version: VERSION, codec: Codec::default() as u16, records, raw_bytes,
            stored_bytes: body.len() as u32, body_sum: sum(&body), ..ChunkHeader::default()
        };
        head.head_sum = sum(&bytemuck::bytes_of(&head)[..SUMMED_BYTES]);
        let chunk = Chunk::parse([bytemuck::bytes_of(&head), &body].concat()).unwrap();
        prop_assert!(chunk.records().is_err());
    }
}

#[test]
fn a_record_that_the_ring_alone_holds_is_refused() {
    let mut piece = golden_records().remove(0);
    piece.head.kind = Kind::Piece as u8;
    assert!(matches!(Chunk::encode(0, &[piece]), Err(LogError::Piece { seq: 0 })));
}
