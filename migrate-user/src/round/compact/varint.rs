//! Numbers of one to ten bytes: seven bits a byte, the least significant first, the top bit set in all but the last.

use super::CompactError;

/// The most bytes that a number takes.
pub(super) const MAX_BYTES: usize = 10;

/// Small magnitudes of either sign to small numbers: 0, -1, 1, -2, 2 ...
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// What [`unzigzag`] takes back to `new` when `old` is added, wrapping.
pub(super) const fn delta(new: u64, old: u64) -> u64 {
    zigzag(new.wrapping_sub(old).cast_signed())
}

/// The inverse of [`delta`].
pub(super) const fn undelta(value: u64, old: u64) -> u64 {
    old.wrapping_add(unzigzag(value).cast_unsigned())
}

/// How many bytes `value` takes.
pub(super) const fn len(value: u64) -> u32 {
    (70 - (value | 1).leading_zeros()) / 7
}

/// Appends `value`.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads one of an encoding's streams.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, CompactError> {
        let (&first, rest) = self.0.split_first().ok_or(CompactError::Short)?;
        self.0 = rest;
        Ok(first)
    }

    #[inline]
    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], CompactError> {
        let (bytes, rest) = self.0.split_at_checked(n).ok_or(CompactError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, CompactError> {
        let mut value = 0u64;
        for shift in 0..MAX_BYTES as u32 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let placed = bits << (shift * 7);
            if placed >> (shift * 7) != bits {
                return Err(CompactError::Number);
            }
            value |= placed;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CompactError::Number)
    }

    /// A number that must fit `T`.
    #[inline]
    pub(super) fn number<T: TryFrom<u64>>(&mut self) -> Result<T, CompactError> {
        T::try_from(self.varint()?).map_err(|_| CompactError::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_reads_back_and_takes_as_many_bytes_as_promised(value: u64, bits in 0u32..64) {
            let value = value >> bits;
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len(value) as usize);
            prop_assert_eq!(Reader(&out).varint(), Ok(value));
        }

        #[test]
        fn a_delta_leads_from_any_number_to_any_other(new: u64, old: u64) {
            prop_assert_eq!(undelta(delta(new, old), old), new);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_or_without_an_end_is_refused() {
        assert_eq!(Reader(&[0xff; 9]).varint(), Err(CompactError::Short));
        assert_eq!(Reader(&[0xff; 11]).varint(), Err(CompactError::Number));
        assert_eq!(Reader(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varint(), Err(CompactError::Number));
    }
}
