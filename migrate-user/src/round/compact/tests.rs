use migrate_common::record::{Class, Header, Kind};
use proptest::prelude::*;

use super::super::synthetic::Synthetic;
use super::*;
use crate::record::Record;

const LIMIT: usize = 1 << 24;

fn encode(records: &[Record]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    records.iter().for_each(|record| encoder.push(record.as_ref()));
    encoder.take()
}

fn record(kind: Kind, tid: u32, seq: u64, nr: i32, ret: i64, args: [u64; 6]) -> Record {
    let head = Header { len: 96, kind: kind as u8, tid, seq, nr, ret, args, ..Header::default() };
    Record { head, payload: Vec::new() }
}

/// Numbers as calls have them: few, small, addresses, and any.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, 0..5000u64, (0..64u64).prop_map(|n| 0x7fff_f000_0000 + n * 8), any::<u64>()]
}

fn kind() -> impl Strategy<Value = Kind> {
    let kinds = [Kind::Syscall, Kind::Syscall, Kind::Syscall, Kind::Fork, Kind::Exec, Kind::Exit, Kind::Signal, Kind::Image];
    proptest::sample::select(kinds.to_vec())
}

/// A segment: an argument's address (0 to 5), address 0, or any; and bytes that come again, are like others, or are any.
fn segment() -> impl Strategy<Value = (u8, u64, Vec<u8>)> {
    let few = (0u8..3, 0usize..40, 0u8..4).prop_map(|(byte, len, at)| {
        let mut bytes = vec![byte; len];
        if let Some(byte) = bytes.get_mut(usize::from(at) * 9) {
            *byte = 0xee;
        }
        bytes
    });
    let clock = (0..3u64, 0..2_000_000_000u64).prop_map(|(s, ns)| [s.to_le_bytes(), ns.to_le_bytes()].concat());
    let bytes = prop_oneof![few, clock, proptest::collection::vec(any::<u8>(), 0..80)];
    (0u8..8, number(), bytes)
}

prop_compose! {
    fn any_record()(
        kind in kind(), class in 0u8..=10, flags in prop_oneof![Just(0u16), any::<u16>()], tid in prop_oneof![1u32..4, any::<u32>()],
        seq in prop_oneof![3 => Just(None), 1 => number().prop_map(Some)], time_ns in number(),
        nr in prop_oneof![proptest::sample::select(vec![0, 1, 96, 228, 232]), any::<i32>()],
        ret in prop_oneof![-12i64..100, any::<i64>()],
        args in proptest::array::uniform6(number()), segments in proptest::collection::vec(segment(), 0..4), many in 0u8..20,
        padding in 0u8..20,
    ) -> (Record, bool) {
        let mut record = record(kind, tid, seq.unwrap_or(0), nr, ret, args);
        (record.head.class, record.head.flags, record.head.time_ns) = (class, flags, time_ns);
        for _ in 0..if many == 0 { 5 } else { 1 } {
            for (place, addr, bytes) in &segments {
                let addr = args.get(usize::from(*place)).copied().unwrap_or(if *place == 6 { 0 } else { *addr });
                record.push_segment(addr, bytes);
            }
        }
        // A record may have other than zeros where they mean nothing, though no recorder makes one.
        if padding == 0 && record.payload.len() > 16 {
            record.payload[12] = 1;
        }
        (record, seq.is_none())
    }
}

/// Records as they may follow each other, in a log or, with numbers left out, in a measurement.
fn any_records() -> impl Strategy<Value = Vec<Record>> {
    proptest::collection::vec(any_record(), 0..60).prop_map(|records| {
        let mut next = 0u64;
        let number = |(mut record, follows): (Record, bool)| {
            if follows {
                record.head.seq = next;
            }
            next = record.head.seq.wrapping_add(1);
            record
        };
        records.into_iter().map(number).collect()
    })
}

proptest! {
    #[test]
    fn any_valid_records_read_back_as_they_were(records in any_records()) {
        let encoded = encode(&records);
        let plain: usize = records.iter().map(Record::len_bytes).sum();
        prop_assert!(encoded.len() <= max_bytes(plain));
        prop_assert_eq!(decode(&encoded, plain).unwrap(), records);
    }

    #[test]
    fn a_server_s_records_read_back_as_they_were(seed: u64, requests in 1usize..60) {
        let mut synthetic = Synthetic::new(seed);
        let records = [synthetic.exec(), synthetic.requests(requests)].concat();
        prop_assert_eq!(decode(&encode(&records), LIMIT).unwrap(), records);
    }

    #[test]
    fn changed_bytes_give_records_or_an_error(
        records in any_records(), changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut encoded = encode(&records);
        for (at, byte) in changes {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        super::super::fuzz::compact_decode(&encoded);
    }

    #[test]
    fn any_bytes_give_records_or_an_error(bytes: Vec<u8>) {
        super::super::fuzz::compact_decode(&bytes);
    }
}

#[test]
fn an_encoding_changed_in_any_bit_or_cut_anywhere_gives_records_or_an_error() {
    let mut synthetic = Synthetic::new(5);
    let encoded = encode(&[synthetic.exec(), synthetic.requests(3)].concat());
    for at in 0..encoded.len() {
        super::super::fuzz::compact_decode(&encoded[..at]);
        for bit in 0..8 {
            let mut changed = encoded.clone();
            changed[at] ^= 1 << bit;
            super::super::fuzz::compact_decode(&changed);
        }
    }
}

#[test]
fn records_beyond_the_limit_are_not_decoded() {
    let records = Synthetic::new(1).requests(2);
    let plain: usize = records.iter().map(Record::len_bytes).sum();
    let encoded = encode(&records);
    assert!(decode(&encoded, plain).is_ok());
    assert_eq!(decode(&encoded, plain - 1), Err(CompactError::Size { limit: plain - 1 }));
}

#[test]
fn an_encoder_begins_anew_when_its_encoding_is_taken() {
    let mut synthetic = Synthetic::new(1);
    let (first, second) = ([synthetic.exec(), synthetic.requests(2)].concat(), synthetic.requests(3));
    let mut encoder = Encoder::new();
    first.iter().for_each(|record| encoder.push(record.as_ref()));
    assert_eq!(encoder.take(), encode(&first));
    assert_eq!((encoder.records(), encoder.encoded_bytes()), (0, 0));
    second.iter().for_each(|record| encoder.push(record.as_ref()));
    assert_eq!(encoder.take(), encode(&second));
}

/// What the encoding is for.
#[test]
fn a_call_that_comes_again_takes_two_bytes() {
    let mut encoder = Encoder::new();
    let mut sizes = Vec::new();
    for seq in 0..100 {
        let nr = [0, 1, 3][seq as usize % 3];
        let mut call = record(Kind::Syscall, 7, seq, nr, 5, [3, 0x7fff_0000, 5, 0, 0, 0]);
        call.head.class = Class::Pipe as u8;
        call.head.time_ns = 1_000_000_000 + seq * 700;
        call.push_segment(0x7fff_0000, b"hello");
        let before = encoder.encoded_bytes();
        encoder.push(call.as_ref());
        sizes.push(encoder.encoded_bytes() - before);
    }
    // Until the time between is learnt, three.
    assert_eq!(sizes[20..], [2; 80]);
}

/// Processes that come and go, each like the ones before it.
#[test]
fn a_task_finds_the_contexts_of_a_task_that_has_ended() {
    let mut encoder = Encoder::new();
    let mut sizes = Vec::new();
    for tid in 2..50u32 {
        let before = encoder.encoded_bytes();
        for (i, nr) in (0..20).enumerate() {
            let seq = u64::from(tid) * 21 + i as u64;
            encoder.push(record(Kind::Syscall, tid, seq, nr, 0, [u64::from(nr.cast_unsigned()); 6]).as_ref());
        }
        encoder.push(record(Kind::Exit, tid, u64::from(tid) * 21 + 20, 0, 0, [0; 6]).as_ref());
        sizes.push(encoder.encoded_bytes() - before);
    }
    assert!(sizes[2..].iter().all(|&bytes| bytes <= 3 * 21), "{sizes:?}");
}

#[test]
fn more_contexts_than_are_kept_read_back_too() {
    let all: Vec<_> =
        (0..40_000).map(|n| record(Kind::Syscall, n / 4000, n.into(), 0, 1, [u64::from(n % 4000), 1, 2, 3, 4, 5])).collect();
    assert_eq!(decode(&encode(&all), LIMIT).unwrap(), all);
}
