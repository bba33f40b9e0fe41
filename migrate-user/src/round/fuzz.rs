//! What must hold for any bytes at all. The fuzz targets call these, and the tests replay the fuzz corpus through them.

use migrate_common::record::VERSION;

use super::chain::sum;
use super::codec::Packer;
use super::{Chunk, ChunkHeader, Codec, LogReader, chunk, compact};
use crate::record::Record;

/// A record that parses is the bytes that it was parsed from.
pub fn record_parse(bytes: &[u8]) {
    if let Ok((record, used)) = Record::parse(bytes) {
        let mut again = Vec::new();
        record.write_to(&mut again);
        assert_eq!(again, bytes[..used], "a record writes other bytes than it was read from");
        assert!(record.segments().map(|segment| segment.bytes.len()).sum::<usize>() <= record.payload.len());
    }
}

/// A chunk that unpacks holds records that pack and unpack to themselves.
pub fn chunk_decode(bytes: &[u8]) {
    if let Ok(chunk) = Chunk::parse(bytes.to_vec()) {
        assert_eq!(chunk.as_bytes(), bytes);
        unpacked(&chunk);
    }
    if let Some(chunk) = forged(bytes) {
        unpacked(&chunk);
    }
}

/// An encoding that decodes is of records that encode and decode to themselves, within the limit.
pub fn compact_decode(bytes: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let Ok(records) = compact::decode(bytes, LIMIT) else { return };
    assert!(records.iter().map(Record::len_bytes).sum::<usize>() <= LIMIT);
    let mut encoder = compact::Encoder::new();
    let mut plain = Vec::new();
    for record in &records {
        encoder.push(record.as_ref());
        plain.clear();
        record.write_to(&mut plain);
        assert_eq!(Record::parse(&plain), Ok((record.clone(), plain.len())), "a record decodes that is none");
    }
    assert_eq!(encoder.records(), records.len() as u64);
    let bytes = encoder.encoded_bytes();
    let encoded = encoder.take();
    assert!(encoded.len() >= bytes && encoded.len() <= compact::max_bytes(LIMIT));
    assert_eq!(compact::decode(&encoded, LIMIT), Ok(records), "records do not survive being encoded");
}

/// Past the checksums, which no fuzzer guesses: a chunk with true sums whose header and body are `bytes`. The first byte says
/// whether they are the body's packed or unpacked form.
fn forged(bytes: &[u8]) -> Option<Chunk> {
    let (form, rest) = bytes.split_first()?;
    let (numbers, body) = rest.split_first_chunk::<6>()?;
    let body = if form & 1 == 0 { Packer::new().ok()?.pack(body).ok()? } else { body.to_vec() };
    let mut head = ChunkHeader {
        magic: chunk::MAGIC,
        version: VERSION,
        codec: Codec::default() as u16,
        n: numbers[0].into(),
        first_seq: numbers[1].into(),
        last_seq: numbers[2].into(),
        records: numbers[3].into(),
        raw_bytes: u32::from(u16::from_le_bytes([numbers[4], numbers[5]])) * 8,
        stored_bytes: body.len() as u32,
        body_sum: sum(&body),
        head_sum: [0; 16],
    };
    head.head_sum = sum(&bytemuck::bytes_of(&head)[..std::mem::offset_of!(ChunkHeader, head_sum)]);
    Chunk::parse([bytemuck::bytes_of(&head), &body].concat()).ok()
}

fn unpacked(chunk: &Chunk) {
    let Ok(records) = chunk.records() else { return };
    assert!(records.iter().all(|record| (record.head.slot, record.head.host_tid) == (0, 0)));
    let again = Chunk::encode(chunk.header().n, &records).and_then(|chunk| chunk.records());
    assert_eq!(again.ok(), Some(records), "records do not survive being packed");
}

/// A log that reads to its end has an ending, and no later call gives more.
pub fn log_read(bytes: &[u8]) {
    let Ok(mut reader) = LogReader::new(bytes) else { return };
    loop {
        match reader.next_records() {
            Ok(Some(records)) => assert!(!records.is_empty()),
            Ok(None) => {
                assert!(reader.ending().is_some());
                assert_eq!(reader.position(), bytes.len() as u64);
                return assert!(reader.next_records().is_ok_and(|more| more.is_none()));
            }
            Err(_) => return assert!(reader.next_records().is_err() && reader.into_end().is_err()),
        }
    }
}

/// The corpus of a fuzz target: each file's name and bytes.
#[cfg(test)]
pub fn corpus(target: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let found: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    assert!(!found.is_empty(), "{} is empty", directory.display());
    found
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::Synthetic;
    use super::super::{Ending, LogMeta, LogWriter};
    use super::*;

    fn replay(target: &str, check: fn(&[u8])) {
        for (path, bytes) in corpus(target) {
            println!("{}", path.display());
            check(&bytes);
        }
    }

    #[test]
    fn the_corpus_of_records_holds() {
        replay("record_parse", record_parse);
    }

    #[test]
    fn the_corpus_of_chunks_holds() {
        replay("chunk_decode", chunk_decode);
    }

    #[test]
    fn the_corpus_of_encodings_holds() {
        replay("compact_decode", compact_decode);
    }

    #[test]
    fn the_corpus_of_logs_holds() {
        replay("log_read", log_read);
    }

    /// Seeds that reach deep into the decoders: whole, cut, and with one byte changed.
    #[test]
    #[ignore = "writes the seeds"]
    fn write_seeds() {
        let mut synthetic = Synthetic::new(3);
        let records = [synthetic.exec(), synthetic.requests(2)].concat();
        let mut log = LogWriter::new(Vec::new(), &LogMeta::default()).unwrap();
        for record in &records {
            log.push(record).unwrap();
            log.close_chunk().unwrap();
        }
        let log = log.finish(&Ending::Gap { at: 13, why: "seed".into() }).unwrap();
        let mut record = Vec::new();
        records[1].write_to(&mut record);
        let chunk = Chunk::encode(0, &records).unwrap().into_bytes();
        let mut encoder = compact::Encoder::new();
        records.iter().for_each(|record| encoder.push(record.as_ref()));
        let encoded = encoder.take();
        let raw_bytes: usize = records.iter().map(Record::len_bytes).sum();
        let [low, high] = ((raw_bytes / 8) as u16).to_le_bytes();
        let forged = [&[0, 0, 0, 12, 14, low, high], encoded.as_slice()].concat();
        unpacked(&super::forged(&forged).unwrap());
        let seeds = [
            ("record_parse", "", record),
            ("chunk_decode", "", chunk),
            ("chunk_decode", "-forged", forged),
            ("compact_decode", "", encoded),
            ("log_read", "", log),
        ];
        for (target, suffix, bytes) in seeds {
            let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
            std::fs::create_dir_all(&directory).unwrap();
            let mut changed = bytes.clone();
            changed[bytes.len() / 2] ^= 0x40;
            for (name, bytes) in [("whole", bytes.as_slice()), ("cut", &bytes[..bytes.len() * 2 / 3]), ("changed", &changed)] {
                std::fs::write(directory.join(format!("{name}{suffix}")), bytes).unwrap();
            }
        }
    }
}
