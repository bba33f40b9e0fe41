//! The digest chain: one number that depends on everything a guest saw, in order.

use crate::kit::{Result, fd};

/// Chains what a guest sees, and makes the data that it writes.
///
/// The chain begins with random bytes of the kernel, and [`Chain::data`] follows from them, so a replica that was not given the
/// same bytes writes, reads and prints something else from the first line on.
#[derive(Clone, Debug)]
pub struct Chain {
    name: String,
    digest: u64,
    random: u64,
}

/// Values that a chain takes.
pub trait Word {
    /// As 64 bits.
    fn word(self) -> u64;
}

macro_rules! words {
    ($($kind:ty),*) => { $(impl Word for $kind {
        #[allow(clippy::cast_lossless, clippy::cast_sign_loss, reason = "any injective map to 64 bits does")]
        fn word(self) -> u64 {
            self as u64
        }
    })* };
}
words!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize, bool);

/// One step of the chain: for a given digest no two words give the same result, and the other way round.
#[must_use]
pub fn mix(digest: u64, word: u64) -> u64 {
    let mixed = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_add(0x632b_e59b_d9b4_e019)
}

/// Chains bytes, length first.
#[must_use]
pub fn mix_bytes(mut digest: u64, bytes: &[u8]) -> u64 {
    digest = mix(digest, bytes.len() as u64);
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    for word in words {
        digest = mix(digest, u64::from_le_bytes(word.try_into().expect("chunks of 8")));
    }
    mix(digest, u64::from_le_bytes(last))
}

impl Chain {
    /// A chain that begins with random bytes.
    pub fn new(name: &str) -> Result<Self> {
        let seed = fd::random(16)?;
        let digest = mix_bytes(0, &seed);
        Ok(Self { name: name.to_owned(), digest, random: mix(digest, 1) })
    }

    /// Takes a value.
    pub fn num(&mut self, value: impl Word) {
        self.digest = mix(self.digest, value.word());
    }

    /// Takes bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.digest = mix_bytes(self.digest, bytes);
    }

    /// Takes text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// The digest of everything so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// A number below a bound, different in every run.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(mix(0, self.random), 2) % bound
    }

    /// Bytes to write, different in every run.
    pub fn data(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.below(u64::MAX).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Prints the digest so far: `NAME LABEL DIGEST`.
    pub fn show(&self, label: &str) -> Result {
        print(&format!("{} {label} {:016x}", self.name, self.digest))
    }
}

/// Writes a line to standard output by one call, so that lines of several processes do not mix and none is buffered over a fork.
pub fn print(line: &str) -> Result {
    fd::write_all(1, format!("{line}\n").as_bytes())
}

/// Says that this kernel, file system or container does not offer a part of what the guest checks.
pub fn unsupported(what: &str) -> Result {
    print(&format!("unsupported: {what}"))
}
