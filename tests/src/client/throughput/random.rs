//! Numbers that are random enough to choose keys by, for less than a nanosecond each: xorshift of 64 bits.

use std::hash::{BuildHasher, RandomState};

#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Other numbers with each run: a load that asked for the keys of its warm-up again would find them all.
    pub fn new() -> Self {
        // It would stay 0 for ever.
        Self(RandomState::new().hash_one(0).max(1))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_limit_comes_about_as_often() {
        let mut random = Random::new();
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[random.below(10) as usize] += 1;
        }
        // Seven standard deviations.
        assert!(counts.iter().all(|count| (790..=1210).contains(count)), "{counts:?}");
    }
}
