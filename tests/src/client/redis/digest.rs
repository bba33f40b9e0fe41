//! What `DEBUG DIGEST` answers for a set of keys with strings, calculated from the keys and their values (`debug.c` of Redis 7).
//!
//! Each key and value give 20 bytes, and these are combined by exclusive or: the order of keys does not count.

use sha1::{Digest as _, Sha1};

/// 20 bytes of a SHA-1, as Redis combines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset([u8; 20]);

impl Dataset {
    /// Database 0 before its first key.
    pub fn new() -> Self {
        let mut digest = Self([0; 20]);
        digest.mix(&0_u32.to_be_bytes());
        digest
    }

    /// Takes a key with a string.
    pub fn string(&mut self, key: &[u8], value: &[u8]) {
        /// `OBJ_STRING`
        const STRING: u32 = 0;
        let mut pair = Self([0; 20]);
        pair.mix(key);
        pair.mix(&STRING.to_be_bytes());
        pair.mix(value);
        self.xor(&pair.0);
    }

    /// As Redis prints it.
    pub fn text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn xor(&mut self, data: &[u8]) {
        for (to, byte) in self.0.iter_mut().zip(Sha1::digest(data)) {
            *to ^= byte;
        }
    }

    fn mix(&mut self, data: &[u8]) {
        self.xor(data);
        self.0 = Sha1::digest(self.0).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> String {
        let mut digest = Dataset::new();
        pairs.iter().for_each(|(key, value)| digest.string(key.as_bytes(), value.as_bytes()));
        digest.text()
    }

    #[test]
    fn the_order_of_keys_does_not_count_and_everything_else_does() {
        let right = of(&[("a", "1"), ("b", "2")]);
        assert_eq!(right, of(&[("b", "2"), ("a", "1")]));
        for wrong in [of(&[("a", "1")]), of(&[("a", "2"), ("b", "1")]), of(&[("a", "1"), ("b", "3")]), of(&[])] {
            assert_ne!(right, wrong);
        }
    }
}
