//! What the server must hold by what it acknowledged: values, each client's own counter, and a counter that all share.

use std::collections::BTreeMap;

use super::{digest::Dataset, protocol::Reply};

/// Keys that each client writes again and again.
const KEYS: u64 = 16;
/// The counter that everybody raises.
pub const SHARED: &str = "shared";

/// What went wrong, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wrongs {
    /// Acknowledged values that are not there.
    pub writes_missing: u64,
    /// Acknowledged increments that the counter does not contain.
    pub increments_lost: u64,
    /// Increments that the counter contains and nobody was told of.
    pub increments_doubled: u64,
}

/// One client's book.
#[derive(Debug)]
pub struct Book {
    member: usize,
    values: BTreeMap<String, Vec<u8>>,
    counter: i64,
    /// Answers to increments of the shared counter.
    pub shared: Vec<i64>,
    pub writes: u64,
    pub increments: u64,
    pub wrongs: Wrongs,
    /// Something was asked and never answered: nobody knows whether it was done.
    pub open: bool,
}

impl Book {
    pub fn new(member: usize) -> Self {
        let wrongs = Wrongs::default();
        Self { member, values: BTreeMap::new(), counter: 0, shared: Vec::new(), writes: 0, increments: 0, wrongs, open: false }
    }

    /// Whose book it is.
    pub fn member(&self) -> usize {
        self.member
    }

    /// The key of a turn.
    pub fn key(&self, turn: u64) -> String {
        format!("key:{}:{}", self.member, turn % KEYS)
    }

    /// The client's own counter.
    pub fn counter(&self) -> String {
        format!("counter:{}", self.member)
    }

    /// A value that no other turn of any client has, from 100 to about 1000 bytes long.
    pub fn value(&self, turn: u64) -> Vec<u8> {
        let word = format!("{}:{turn}:", self.member);
        let mixed = (turn ^ (self.member as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        word.bytes().cycle().take(100 + usize::try_from(mixed % 900).unwrap_or(0)).collect()
    }

    /// Whether the answer to a SET acknowledges it; then it is remembered.
    pub fn set(&mut self, key: String, value: Vec<u8>, reply: &Reply) -> bool {
        self.open = false;
        let right = *reply == Reply::Text("OK".to_string());
        if right {
            self.writes += 1;
            self.values.insert(key, value);
        }
        right
    }

    /// Whether the answer to a GET is the last value that was acknowledged.
    pub fn get(&mut self, key: &str, reply: &Reply) -> bool {
        let right = match self.values.get(key) {
            Some(value) => matches!(reply, Reply::Bytes(bytes) if bytes == value),
            None => *reply == Reply::Nothing,
        };
        self.wrongs.writes_missing += u64::from(!right);
        right
    }

    /// Whether the answer to an INCR of the own counter is the next number; goes on from what it is.
    pub fn increment(&mut self, reply: &Reply) -> bool {
        self.open = false;
        let Reply::Number(number) = *reply else { return false };
        self.increments += 1;
        let wanted = self.counter + 1;
        self.wrongs.increments_lost += (wanted - number).max(0).unsigned_abs();
        self.wrongs.increments_doubled += (number - wanted).max(0).unsigned_abs();
        self.counter = number;
        number == wanted
    }

    /// Whether the answer is one to an INCR of the shared counter.
    pub fn increment_shared(&mut self, reply: &Reply) -> bool {
        self.open = false;
        let Reply::Number(number) = *reply else { return false };
        // A client's answers ascend, whatever others do.
        let right = self.shared.last().is_none_or(|last| number > *last);
        self.increments += 1;
        self.shared.push(number);
        right
    }

    /// Every key that must be there, with its value.
    pub fn contents(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let counter = (self.counter > 0).then(|| (self.counter(), self.counter.to_string().into_bytes()));
        self.values.clone().into_iter().chain(counter)
    }

    /// Takes all keys into a digest.
    pub fn digest(&self, dataset: &mut Dataset) {
        self.contents().for_each(|(key, value)| dataset.string(key.as_bytes(), &value));
    }
}

/// Compares the answers to all increments of the shared counter with its last value; `open` of them were never answered.
pub fn settle(answers: impl Iterator<Item = i64>, last: i64, open: u64) -> Wrongs {
    let mut answers: Vec<i64> = answers.collect();
    answers.sort_unstable();
    let all = answers.len() as u64;
    answers.dedup();
    let different = answers.len() as u64;
    let last = u64::try_from(last).unwrap_or(0);
    // The same answer twice: one of the two increments was forgotten in between.
    let lost = (all - different) + different.saturating_sub(last);
    let unknown = last.saturating_sub(different);
    Wrongs { increments_lost: lost, increments_doubled: unknown.saturating_sub(open), writes_missing: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: i64) -> Reply {
        Reply::Number(number)
    }

    #[test]
    fn a_write_that_is_missing_or_old_is_found() {
        let ok = Reply::Text("OK".to_string());
        let mut book = Book::new(3);
        assert!(book.get("key:3:0", &Reply::Nothing));
        assert!(book.set("key:3:0".into(), b"old".to_vec(), &ok));
        assert!(book.set("key:3:0".into(), b"new".to_vec(), &ok));
        assert!(book.get("key:3:0", &Reply::Bytes(b"new".to_vec())));
        assert!(!book.get("key:3:0", &Reply::Bytes(b"old".to_vec())));
        assert!(!book.get("key:3:0", &Reply::Nothing));
        assert_eq!((book.wrongs.writes_missing, book.writes), (2, 2));
        assert!(!book.set("key:3:0".into(), b"newer".to_vec(), &Reply::Error("READONLY".into())));
        assert!(book.get("key:3:0", &Reply::Bytes(b"new".to_vec())));
    }

    #[test]
    fn an_increment_that_is_lost_or_doubled_is_found() {
        let mut book = Book::new(0);
        assert!(book.increment(&number(1)) && book.increment(&number(2)));
        assert!(!book.increment(&number(2)));
        assert_eq!((book.wrongs.increments_lost, book.wrongs.increments_doubled), (1, 0));
        assert!(!book.increment(&number(4)));
        assert_eq!((book.wrongs.increments_lost, book.wrongs.increments_doubled), (1, 1));
        assert!(book.increment(&number(5)));
    }

    #[test]
    fn the_shared_counter_holds_what_was_acknowledged() {
        let lost_doubled = |answers: &[i64], last, open| {
            let wrongs = settle(answers.iter().copied(), last, open);
            (wrongs.increments_lost, wrongs.increments_doubled)
        };
        assert_eq!(lost_doubled(&[3, 1, 2], 3, 0), (0, 0));
        assert_eq!(lost_doubled(&[1, 2, 2], 2, 0), (1, 0));
        assert_eq!(lost_doubled(&[1, 2, 3], 2, 0), (1, 0));
        assert_eq!(lost_doubled(&[1, 2], 3, 0), (0, 1));
        assert_eq!(lost_doubled(&[1, 2, 4], 4, 1), (0, 0));
        assert!(!Book { shared: vec![7], ..Book::new(0) }.increment_shared(&number(7)));
    }

    #[test]
    fn values_differ_from_turn_to_turn_and_from_client_to_client() {
        let (one, two) = (Book::new(1), Book::new(2));
        assert_ne!(one.value(5), one.value(5 + KEYS));
        assert_ne!(one.value(5), two.value(5));
        assert_eq!(one.key(5), one.key(5 + KEYS));
        assert_ne!(one.key(5), two.key(5));
    }
}
