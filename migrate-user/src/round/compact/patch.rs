//! Bytes that are like other bytes.

use super::segment::content;
use super::varint::{self, Reader};
use super::{CompactError, Streams};

/// Segments longer than this are not compared run by run: zstd finds what is in them.
const MAX_PATCHED: usize = 1024;
/// Equal bytes that end a run of differing ones.
const MIN_SKIP: usize = 4;
/// Equal bytes at both ends that are worth leaving out.
const MIN_AFFIX: usize = 16;

/// Tells `new` by what of `old` it repeats, if that is shorter; the segment's content code.
pub(super) fn put(out: &mut Streams, old: &[u8], new: &[u8]) -> u8 {
    let prefix = common_prefix(old, new);
    if old.len() == new.len() && new.len() <= MAX_PATCHED && runs(out, old, new, prefix) {
        return content::PATCH;
    }
    let suffix = common_suffix(&old[prefix..], &new[prefix..]);
    if prefix + suffix >= MIN_AFFIX {
        varint::put(&mut out.numbers, prefix as u64);
        varint::put(&mut out.numbers, suffix as u64);
        out.bytes.extend_from_slice(&new[prefix..new.len() - suffix]);
        return content::AFFIX;
    }
    out.bytes.extend_from_slice(new);
    content::LITERAL
}

/// The runs in which two slices of one length differ: how many equal bytes precede each, its length, its bytes, and how many
/// equal bytes follow the last. False, and nothing is told, if that is not much shorter than the bytes themselves.
fn runs(out: &mut Streams, old: &[u8], new: &[u8], prefix: usize) -> bool {
    let before = (out.numbers.len(), out.bytes.len());
    let limit = out.len() + new.len() / 2;
    let (mut at, mut skip) = (prefix, prefix);
    while at < new.len() {
        let mut end = at + 1;
        let mut equal = 0;
        while end < new.len() && equal < MIN_SKIP {
            equal = if old[end] == new[end] { equal + 1 } else { 0 };
            end += 1;
        }
        end -= equal;
        varint::put(&mut out.numbers, skip as u64);
        varint::put(&mut out.numbers, (end - at) as u64);
        out.bytes.extend_from_slice(&new[at..end]);
        if out.len() > limit {
            out.numbers.truncate(before.0);
            out.bytes.truncate(before.1);
            return false;
        }
        skip = common_prefix(&old[end..], &new[end..]);
        at = end + skip;
        if at == new.len() && end < at {
            varint::put(&mut out.numbers, skip as u64);
        }
    }
    true
}

/// The inverse of [`put`] for [`content::PATCH`].
pub(super) fn take_runs(
    numbers: &mut Reader<'_>,
    bytes: &mut Reader<'_>,
    old: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompactError> {
    let mut rest = old;
    while !rest.is_empty() {
        let (same, tail) = rest.split_at_checked(numbers.number()?).ok_or(CompactError::Segment)?;
        out.extend_from_slice(same);
        rest = tail;
        if rest.is_empty() {
            break;
        }
        let n: usize = numbers.number()?;
        rest = rest.get(n..).ok_or(CompactError::Segment)?;
        out.extend_from_slice(bytes.bytes(n)?);
    }
    Ok(())
}

/// The inverse of [`put`] for [`content::AFFIX`], of `len` bytes.
pub(super) fn take_affix(
    numbers: &mut Reader<'_>,
    bytes: &mut Reader<'_>,
    old: &[u8],
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), CompactError> {
    let (prefix, suffix): (usize, usize) = (numbers.number()?, numbers.number()?);
    let both = prefix.checked_add(suffix).ok_or(CompactError::Segment)?;
    let middle = len.checked_sub(both).ok_or(CompactError::Segment)?;
    if both > old.len() {
        return Err(CompactError::Segment);
    }
    out.extend_from_slice(&old[..prefix]);
    out.extend_from_slice(bytes.bytes(middle)?);
    out.extend_from_slice(&old[old.len() - suffix..]);
    Ok(())
}

/// How many bytes are equal at the start.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut n = 0;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return n + (differing.trailing_zeros() / 8) as usize;
        }
        n += 8;
    }
    n + a[n..].iter().zip(&b[n..]).take_while(|(x, y)| x == y).count()
}

/// How many bytes are equal at the end.
fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count()
}
