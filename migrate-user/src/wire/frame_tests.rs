use proptest::prelude::*;

use super::super::message::{
    Abort, Compared, Final, Go, Hashes, ImageData, ImageDone, Late, LayerData, LayerDone, Live, Memory, MigrationId, NeedImage,
    Pages, Prepare, Prepared, Ready, Refuse, Replayed, Round, Status, StatusIs, Verdict, Wanted,
};
use super::super::{Blob, Hello};
use super::*;
use crate::verify::Verify;

fn every_kind() -> Vec<Message> {
    let id = MigrationId([0xab; 16]);
    let (why, breakdown) = ("because".to_owned(), vec![("freeze".to_owned(), 40_000), ("sockets".to_owned(), 7)]);
    let differing = vec![("loader".to_owned(), 2)];
    let compared = Compared { pages: 900, differing, tasks: 3, tasks_taken: 1, verify_ns: 7, ..Compared::default() };
    vec![
        Hello { kernel_release: "6.18.0".into(), monotonic_ns: u64::MAX, ..Hello::new() }.into(),
        Refuse { why: why.clone() }.into(),
        Prepare { id, spec: Blob(b"{}".to_vec()), image: "sha256:0".into(), layer: true, verify: Verify::All }.into(),
        NeedImage { needed: true }.into(),
        ImageData { bytes: Blob(vec![1, 2, 3]) }.into(),
        ImageDone {}.into(),
        LayerData { bytes: Blob(vec![]) }.into(),
        LayerDone {}.into(),
        Prepared {}.into(),
        Round { round: 4, chunk: Blob(vec![9; 300]) }.into(),
        Replayed { round: 4, chunk: 77, records: 1000, replay_ns: 1 << 40 }.into(),
        Final { chunks: 78, digest: [5; 32], snapshot: Blob(vec![8; 20]) }.into(),
        Ready { digest: [5; 32], breakdown: breakdown.clone(), compared: Some(compared) }.into(),
        Go {}.into(),
        Live { breakdown, inodes: crate::inodes::InodeReport { needed: 1, kept: 3, no_new_privs: true } }.into(),
        Abort { why }.into(),
        Status { protocol: 1, id }.into(),
        StatusIs { verdict: Verdict::Undecided }.into(),
        Late { packets: vec![Blob(vec![9; 40]), Blob(vec![])] }.into(),
        Memory { bytes: Blob(vec![6; 32]) }.into(),
        Wanted { pages: Blob(vec![7; 9]) }.into(),
        Pages { bytes: Blob(vec![8; 4096]) }.into(),
        Hashes { bytes: Blob(vec![3; 16]) }.into(),
    ]
}

#[test]
fn every_message_reads_back_and_has_its_own_number() {
    let messages = every_kind();
    let numbers: Vec<u16> = messages.iter().map(|message| message.kind() as u16).collect();
    assert_eq!(numbers, (1..=23).collect::<Vec<_>>());
    assert_eq!((Kind::from_u16(0), Kind::from_u16(24)), (None, None));
    for message in messages {
        let bytes = encode(&message).unwrap();
        assert_eq!(decode(&bytes).unwrap(), Some((message, bytes.len())));
    }
}

/// The protocol in bytes: what fails here is a new `PROTOCOL`.
#[test]
fn frames_of_this_protocol_are_what_they_were() {
    let frame = |message: Message| encode(&message).unwrap();
    let go = frame(Go {}.into());
    assert_eq!(go, [&[0, 0, 0, 0, 14, 0, 0, 0], &blake3::hash(b"").as_bytes()[..8]].concat());
    let body = |message: Message| frame(message)[HEADER_BYTES..].to_vec();
    assert_eq!(body(StatusIs { verdict: Verdict::Aborted }.into()), [4]);
    assert_eq!(body(Replayed { round: 1, chunk: 2, records: 300, replay_ns: 4 }.into()), [1, 2, 0xac, 2, 4]);
    assert_eq!(body(Round { round: 1, chunk: Blob(vec![7, 8]) }.into()), [1, 2, 7, 8]);
    assert_eq!(body(Status { protocol: 1, id: MigrationId([9; 16]) }.into()), [[1].as_slice(), &[9; 16]].concat());
    assert_eq!(body(Abort { why: "no".into() }.into()), [2, b'n', b'o']);
    assert_eq!(body(Late { packets: vec![Blob(vec![7, 8])] }.into()), [1, 2, 7, 8]);
}

#[test]
fn a_frame_that_is_not_all_there_is_no_error() {
    for message in every_kind() {
        let bytes = encode(&message).unwrap();
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]).unwrap(), None);
        }
    }
}

#[test]
fn a_changed_body_is_a_checksum_error_and_a_changed_number_is_known() {
    let bytes = encode(&Abort { why: "because".into() }.into()).unwrap();
    for at in 8..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(matches!(decode(&changed), Err(WireError::Checksum(Kind::Abort))));
    }
    let mut zeroed = bytes;
    zeroed[4] = 0;
    assert!(matches!(decode(&zeroed), Err(WireError::Kind(0))));
}

#[test]
fn a_frame_larger_than_its_kind_is_refused_before_its_body_comes() {
    for (kind, bytes) in [(Kind::Go, 2000), (Kind::Hello, 1 << 20), (Kind::Round, u32::MAX)] {
        let head = FrameHeader { body_bytes: bytes, kind: kind as u16, ..FrameHeader::default() };
        assert!(matches!(decode(bytemuck::bytes_of(&head)), Err(WireError::Size { .. })), "{kind:?}");
    }
    let why = "x".repeat(Kind::Abort.max_bytes());
    assert!(matches!(encode(&Abort { why }.into()), Err(WireError::Size { .. })));
}

fn forged(kind: Kind, body: &[u8]) -> Result<Option<(Message, usize)>, WireError> {
    let head = FrameHeader { body_bytes: body.len() as u32, kind: kind as u16, zero: 0, sum: sum(body) };
    decode(&[bytemuck::bytes_of(&head), body].concat())
}

#[test]
fn a_body_that_is_too_long_or_senseless_is_refused() {
    assert!(matches!(forged(Kind::Go, &[0]), Err(WireError::Trailing { kind: Kind::Go, bytes: 1 })));
    assert!(matches!(forged(Kind::NeedImage, &[]), Err(WireError::Decode(Kind::NeedImage, _))));
    for verdict in [0, 5, 200] {
        assert!(matches!(forged(Kind::StatusIs, &[verdict]), Err(WireError::Decode(..))), "verdict {verdict}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, kind in 1u16..19, body: Vec<u8>) {
        let _frame = decode(&bytes);
        let _message = forged(Kind::from_u16(kind).unwrap(), &body);
    }
}

#[test]
fn a_migration_id_reads_back_from_its_hex() {
    let id = MigrationId(*b"\x00\x01\xfe\xff0123456789ab");
    assert_eq!(id.to_string().parse::<MigrationId>().unwrap(), id);
    for wrong in ["", "00", "+0000000000000000000000000000000", "zz000000000000000000000000000000", &format!("{id}0")] {
        assert!(wrong.parse::<MigrationId>().is_err(), "{wrong}");
    }
}
