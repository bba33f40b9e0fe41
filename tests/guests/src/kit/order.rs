//! The order in which threads or processes did things.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::kit::{Chain, Result};

/// Notes that fit.
const SLOTS: usize = 8192;

/// What several threads, or processes that share this memory, note in the order in which they come. All zeros is an empty one.
#[derive(Debug)]
pub struct Order {
    next: AtomicUsize,
    slots: [AtomicU64; SLOTS],
}

impl Order {
    /// An empty one.
    pub const fn new() -> Self {
        Self { next: AtomicUsize::new(0), slots: [const { AtomicU64::new(0) }; SLOTS] }
    }

    /// Notes a word; gives its place. What does not fit is only counted.
    pub fn note(&self, word: u64) -> usize {
        let at = self.next.fetch_add(1, Ordering::SeqCst);
        if let Some(slot) = self.slots.get(at) {
            slot.store(word, Ordering::SeqCst);
        }
        at
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.next.load(Ordering::SeqCst)
    }

    /// All of them, oldest first, taken into the chain. Nobody may be noting any more.
    pub fn take(&self, chain: &mut Chain) -> Result<Vec<u64>> {
        let count = self.len();
        check!(count <= SLOTS, "{count} notes, which is more than fit");
        let words: Vec<u64> = self.slots[..count].iter().map(|slot| slot.load(Ordering::SeqCst)).collect();
        words.iter().for_each(|&word| chain.num(word));
        self.next.store(0, Ordering::SeqCst);
        Ok(words)
    }
}

/// A note of who and what.
#[must_use]
pub fn by(who: usize, what: u64) -> u64 {
    (who as u64) << 32 | what
}

/// Checks that each of `count` noted 0, 1, 2 ... in this order, and equally often.
pub fn check_each_ascends(words: &[u64], count: usize, each: u64) -> Result {
    for who in 0..count {
        let own = words.iter().filter(|&&word| word >> 32 == who as u64).map(|&word| word & 0xffff_ffff);
        check!(own.eq(0..each), "the notes of {who} are not in order");
    }
    check_eq!(words.len() as u64, count as u64 * each, "notes");
    Ok(())
}
