use super::super::synthetic::Synthetic;
use super::*;
use crate::record::Record;

const GAP: &str = "the agent died";

fn spool(limit_bytes: u64) -> (tempfile::TempDir, std::path::PathBuf, Spool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let spool = Spool::create(&path, &LogMeta::default(), limit_bytes).unwrap();
    (directory, path, spool)
}

fn append(spool: &mut Spool, records: &[Record]) -> Appended {
    records.iter().for_each(|record| spool.push(record).unwrap());
    spool.append().unwrap()
}

fn read(path: &Path) -> Result<(Vec<Record>, Ending), LogError> {
    let mut reader = LogReader::new(File::open(path)?)?;
    let mut records = Vec::new();
    while let Some(mut more) = reader.next_records()? {
        records.append(&mut more);
    }
    Ok((records, reader.ending().cloned().unwrap()))
}

#[test]
fn a_finished_spool_is_a_log() {
    let (_directory, path, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    let records = Synthetic::new(1).requests(30);
    records.chunks(7).for_each(|part| drop(append(&mut spool, part)));
    let ending = Ending::Gap { at: 180, why: "stopped".into() };
    spool.finish(&ending).unwrap();
    assert_eq!(read(&path).unwrap(), (records, ending));
}

#[test]
fn a_reader_follows_a_spool_that_grows_and_starts_anywhere() {
    let (_directory, _, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    let mut synthetic = Synthetic::new(1);
    let mut from_start = spool.reader(0).unwrap();
    assert_eq!(from_start.next_chunk().unwrap(), None);
    let parts: Vec<_> = (0..5).map(|_| synthetic.requests(3)).collect();
    append(&mut spool, &parts[0]);
    append(&mut spool, &parts[1]);
    let mut later = spool.reader(2).unwrap();
    assert_eq!(from_start.next_chunk().unwrap().unwrap().records().unwrap(), parts[0]);
    assert_eq!((from_start.behind().chunks, from_start.behind().records), (1, 18));
    assert_eq!(later.next_chunk().unwrap(), None);
    append(&mut spool, &parts[2]);
    assert_eq!(later.next_chunk().unwrap().unwrap().records().unwrap(), parts[2]);
    assert_eq!(from_start.next_chunk().unwrap().unwrap().records().unwrap(), parts[1]);
    assert_eq!(from_start.next_chunk().unwrap().unwrap().header().n, 2);
    assert_eq!(from_start.behind(), Totals::default());
    assert_eq!(from_start.read(), spool.totals());
    assert!(matches!(spool.reader(4), Err(LogError::ChunkOrder { expected: 3, found: 4 })));
}

#[test]
fn a_reader_on_another_thread_sees_every_chunk_once_and_whole() {
    let (_directory, _, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    let mut reader = spool.reader(0).unwrap();
    let all = Synthetic::new(9).requests(400);
    let expected = all.clone();
    let consumer = std::thread::spawn(move || {
        let mut records = Vec::new();
        while records.len() < expected.len() {
            match reader.next_chunk().unwrap() {
                Some(chunk) => records.append(&mut chunk.records().unwrap()),
                None => std::thread::yield_now(),
            }
        }
        assert_eq!(records, expected);
    });
    all.chunks(5).for_each(|part| drop(append(&mut spool, part)));
    consumer.join().unwrap();
}

#[test]
fn nothing_to_append_is_no_chunk() {
    let (_directory, _, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    assert_eq!(spool.append().unwrap(), Appended::Nothing);
    assert_eq!(spool.totals(), Totals::default());
}

#[test]
fn at_the_limit_a_spool_stops_for_good_and_says_so() {
    let limit = 12 << 10;
    let (_directory, path, mut spool) = spool(limit);
    let mut synthetic = Synthetic::new(1);
    let mut kept = Vec::new();
    let stop = loop {
        let records = synthetic.requests(40);
        match append(&mut spool, &records) {
            Appended::Stored(_) => kept.extend(records),
            Appended::Stopped(stop) => break stop,
            Appended::Nothing => unreachable!("records were pushed"),
        }
    };
    assert_eq!(stop.to_string(), "log limit of 12288 bytes reached");
    assert!(!kept.is_empty());
    for _ in 0..3 {
        assert_eq!(append(&mut spool, &synthetic.request()), Appended::Stopped(stop.clone()));
    }
    assert_eq!(spool.stopped(), Some(&stop));
    // What was recorded is still there to be read, closed by a gap.
    let mut reader = spool.reader(0).unwrap();
    assert_eq!(reader.next_chunk().unwrap().unwrap().records().unwrap()[..], kept[..240]);
    spool.finish(&Ending::Gap { at: 0, why: "not this one".into() }).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() <= limit);
    let at = kept.len() as u64;
    assert_eq!(read(&path).unwrap(), (kept, Ending::Gap { at, why: stop.to_string() }));
}

#[test]
fn a_full_disk_is_a_value_and_leaves_whole_chunks_only() {
    let (_directory, path, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    let mut synthetic = Synthetic::new(1);
    let kept = synthetic.requests(3);
    append(&mut spool, &kept);
    // A file that cannot be written stands for the disk that is full.
    let mut reader = spool.reader(0).unwrap();
    spool.file = Arc::new(File::open(&path).unwrap());
    let Appended::Stopped(Stop::Disk { why }) = append(&mut spool, &synthetic.request()) else { panic!("not stopped") };
    assert!(!why.is_empty());
    assert!(matches!(append(&mut spool, &synthetic.request()), Appended::Stopped(Stop::Disk { .. })));
    assert_eq!(reader.next_chunk().unwrap().unwrap().records().unwrap(), kept);
    assert_eq!(reader.next_chunk().unwrap(), None);
    drop(spool);
    assert!(matches!(recover(&path, GAP).unwrap().ending, Ending::Gap { at: 18, .. }));
}

#[test]
fn a_torn_last_chunk_is_cut_wherever_it_was_torn() {
    let (_directory, path, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    let mut synthetic = Synthetic::new(1);
    let kept = synthetic.requests(2);
    append(&mut spool, &kept);
    let good = std::fs::metadata(&path).unwrap().len();
    append(&mut spool, &synthetic.requests(2));
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    for cut in good as usize..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let recovered = recover(&path, GAP).unwrap();
        assert_eq!((recovered.chunks, recovered.records, recovered.cut_bytes), (1, 12, cut as u64 - good));
        assert_eq!(read(&path).unwrap(), (kept.clone(), Ending::Gap { at: 12, why: GAP.into() }));
        // Recovering twice changes nothing.
        assert_eq!(recover(&path, "again").unwrap(), Recovered { cut_bytes: 0, ..recovered });
    }
}

#[test]
fn a_last_chunk_whose_bytes_never_reached_the_disk_is_cut() {
    let (_directory, path, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    let mut synthetic = Synthetic::new(1);
    append(&mut spool, &synthetic.requests(2));
    let good = std::fs::metadata(&path).unwrap().len() as usize;
    append(&mut spool, &synthetic.requests(900));
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    for zeros_from in [good, good + 200] {
        let mut torn = whole.clone();
        torn[zeros_from..].fill(0);
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(recover(&path, GAP).unwrap().chunks, 1);
    }
}

#[test]
fn damage_that_is_no_torn_end_is_reported_and_left_alone() {
    let (_directory, path, mut spool) = spool(DEFAULT_LIMIT_BYTES);
    let mut synthetic = Synthetic::new(1);
    append(&mut spool, &synthetic.requests(2));
    let good = std::fs::metadata(&path).unwrap().len() as usize;
    append(&mut spool, &synthetic.requests(2));
    drop(spool);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[good - 1] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(recover(&path, GAP), Err(LogError::Checksum(Part::Chunk(0)))));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_spool_never_overwrites_a_file() {
    let (_directory, path, _spool) = spool(DEFAULT_LIMIT_BYTES);
    assert!(matches!(Spool::create(&path, &LogMeta::default(), 0), Err(LogError::Io(_))));
}
