//! What must hold for any bytes at all. The fuzz targets call these, and the tests replay the fuzz corpus through them.

use super::{Message, frame, world};

/// A frame that decodes encodes to the bytes that it was decoded from, or to fewer: postcard's numbers have a longest form.
pub fn frame_decode(bytes: &[u8]) {
    let Ok(Some((message, used))) = frame::decode(bytes) else { return };
    assert!(used <= bytes.len());
    let again = frame::encode(&message).unwrap_or_default();
    assert!(again.len() <= used, "a message grows");
    assert_eq!(frame::decode(&again).ok().flatten().map(|(message, _)| message), Some(message));
}

/// Both machines survive what a hostile peer sends, frame by frame.
pub fn hostile(bytes: &[u8]) {
    let mut rest = bytes;
    let messages = std::iter::from_fn(|| {
        let (message, used) = frame::decode(rest).ok()??;
        rest = &rest[used..];
        Some(message)
    });
    world::run_hostile(messages.collect::<Vec<Message>>());
}

/// Whatever happens, in whatever order, exactly one copy lives.
pub fn machines(bytes: &[u8]) {
    assert_eq!(world::run(bytes), Ok(()));
}

#[cfg(test)]
mod tests {
    use super::super::message::{
        Compared, Final, Go, Hashes, Live, Memory, NeedImage, Pages, Prepare, Prepared, Ready, Round, StatusIs, Verdict, Wanted,
    };
    use super::super::{Hello, MigrationId};
    use super::*;
    use crate::round::Chain;
    use crate::round::fuzz::corpus;
    use crate::verify::Verify;

    fn replay(target: &str, check: fn(&[u8])) {
        for (path, bytes) in corpus(target) {
            println!("{}", path.display());
            check(&bytes);
        }
    }

    #[test]
    fn the_corpus_of_frames_holds() {
        replay("frame_decode", frame_decode);
    }

    #[test]
    fn the_corpus_of_hostile_peers_holds() {
        replay("hostile", hostile);
    }

    #[test]
    fn the_corpus_of_machines_holds() {
        replay("machines", machines);
    }

    #[test]
    #[ignore = "writes the seeds"]
    fn write_seeds() {
        let write = |target: &str, name: &str, bytes: &[u8]| {
            let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(name), bytes).unwrap();
        };
        let id = MigrationId([7; 16]);
        let digest = Chain::new(&id.0).link();
        let messages: Vec<Message> = vec![
            Hello::new().into(),
            Prepare { id, spec: b"{}".to_vec().into(), image: "image".into(), layer: false, verify: Verify::Touched }.into(),
            NeedImage { needed: false }.into(),
            Prepared {}.into(),
            Round { round: 0, chunk: vec![0; 100].into() }.into(),
            Final { chunks: 0, digest, snapshot: vec![1].into() }.into(),
            Ready { digest, breakdown: vec![("apply".into(), 5)], compared: Some(Compared { pages: 3, ..Compared::default() }) }
                .into(),
            Memory { bytes: vec![2].into() }.into(),
            Wanted { pages: vec![3].into() }.into(),
            Pages { bytes: vec![4].into() }.into(),
            Go {}.into(),
            StatusIs { verdict: Verdict::Undecided }.into(),
            Live { breakdown: Vec::new(), inodes: crate::inodes::InodeReport::default() }.into(),
            Hashes { bytes: vec![5].into() }.into(),
        ];
        let frames: Vec<Vec<u8>> = messages.iter().map(|message| frame::encode(message).unwrap()).collect();
        for (message, frame) in messages.iter().zip(&frames) {
            write("frame_decode", &format!("{:?}", message.kind()).to_lowercase(), frame);
        }
        write(
            "hostile",
            "source",
            &[&frames[0], &frames[1], &frames[13], &frames[5], &frames[7], &frames[9], &frames[10]].map(Vec::as_slice).concat(),
        );
        write(
            "hostile",
            "target",
            &[&frames[0], &frames[2], &frames[3], &frames[8], &frames[6], &frames[12]].map(Vec::as_slice).concat(),
        );
        write("hostile", "all", &frames.concat());
        let benign: Vec<u8> = (0..world::BENIGN.len() as u8).collect();
        // The image must be sent, and hashes are told before the freeze.
        let first = vec![1 | 2 << 2];
        for rounds in [0, 12, 28] {
            write("machines", &format!("undisturbed-{rounds}"), &[first.clone(), benign.repeat(rounds)].concat());
            for fault in 0..world::FAULTS.len() as u8 {
                let ops = [first.clone(), benign.repeat(rounds), vec![0x80 + fault], benign.repeat(20)].concat();
                write("machines", &format!("fault-{fault}-after-{rounds}"), &ops);
            }
        }
    }
}
