//! What an entry of the ring holds: a record or a piece, with room that it did not need behind it; or a batch of records.

use crate::record::{RecordError, RecordRef};
use migrate_common::record::{BATCH, BATCH_BYTES};

/// The records of an entry. Behind an error nothing more comes.
pub(super) fn records(entry: &[u8]) -> impl Iterator<Item = Result<RecordRef<'_>, RecordError>> {
    let batch = entry.strip_prefix(&BATCH.to_ne_bytes());
    const { assert!(BATCH_BYTES == size_of_val(&BATCH)) };
    let mut left = batch.unwrap_or(entry);
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let parsed = RecordRef::parse(left);
        left = match (&parsed, batch) {
            (Ok((_, used)), Some(_)) => &left[*used..],
            _ => &[],
        };
        Some(parsed.map(|(record, _)| record))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use migrate_common::record::{HEADER_BYTES, Header, Kind};

    fn record(seq: u64, payload: &[u8]) -> Vec<u8> {
        let head = Header { len: (HEADER_BYTES + payload.len()) as u32, kind: Kind::Exit as u8, seq, ..Header::default() };
        let record = Record { head, payload: payload.to_vec() };
        let mut bytes = Vec::new();
        record.write_to(&mut bytes);
        bytes
    }

    fn seqs(entry: &[u8]) -> Vec<Option<u64>> {
        records(entry).map(|record| record.ok().map(|record| record.head.seq)).collect()
    }

    #[test]
    fn an_entry_is_one_record_whatever_follows_it_or_a_batch_of_them() {
        let single = [record(7, &[]), vec![0xab; 40]].concat();
        assert_eq!(seqs(&single), [Some(7)]);
        let batch = [BATCH.to_ne_bytes().to_vec(), record(1, &[]), record(2, &[]), record(3, &[])].concat();
        assert_eq!(seqs(&batch), [Some(1), Some(2), Some(3)]);
        // One that ends within a record.
        assert_eq!(seqs(&batch[..batch.len() - 8]), [Some(1), Some(2), None]);
    }
}
