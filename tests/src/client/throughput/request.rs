//! The two commands as they are sent, made once: from one request to the next only the number of the key changes. Keys and values
//! are those of redis-benchmark.

use super::random::Random;

const KEYS: u64 = 100_000;
const KEY_DIGITS: usize = 12;
pub const VALUE_BYTES: usize = 200;
/// Of every key.
pub const VALUE: [u8; VALUE_BYTES] = value();

const fn value() -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    let mut state = 1234_u32;
    let mut at = 0;
    while at < VALUE_BYTES {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        value[at] = b'0' + ((state >> 16) & 63) as u8;
        at += 1;
    }
    value
}

/// What a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Set,
    Get,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Get => "GET",
        }
    }

    /// Each client asks both in turn.
    pub fn other(self) -> Self {
        match self {
            Self::Set => Self::Get,
            Self::Get => Self::Set,
        }
    }
}

#[derive(Debug)]
pub struct Requests {
    set: Request,
    get: Request,
    random: Random,
}

impl Requests {
    pub fn new() -> Self {
        let set = Request::new("*3\r\n$3\r\nSET\r\n", &[b"$200\r\n".as_slice(), &VALUE, b"\r\n"].concat());
        let get = Request::new("*2\r\n$3\r\nGET\r\n", b"");
        Self { set, get, random: Random::new() }
    }

    /// The request for another key; valid until the next is asked for.
    pub fn next(&mut self, kind: Kind) -> &[u8] {
        let key = self.random.below(KEYS);
        match kind {
            Kind::Set => self.set.of_key(key),
            Kind::Get => self.get.of_key(key),
        }
    }
}

#[derive(Debug)]
struct Request {
    bytes: Vec<u8>,
    /// Behind the last digit of the key.
    digits_end: usize,
}

impl Request {
    fn new(command: &str, rest: &[u8]) -> Self {
        let mut bytes = format!("{command}$16\r\nkey:{:0KEY_DIGITS$}", 0).into_bytes();
        let digits_end = bytes.len();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(rest);
        Self { bytes, digits_end }
    }

    fn of_key(&mut self, mut key: u64) -> &[u8] {
        for digit in self.bytes[..self.digits_end].iter_mut().rev().take(KEY_DIGITS) {
            *digit = b'0' + (key % 10) as u8;
            key /= 10;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_again_for_each_key() {
        let mut requests = Requests::new();
        let value = std::str::from_utf8(&VALUE).unwrap();
        let set = |key: &str| format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key}\r\n$200\r\n{value}\r\n");
        assert_eq!(requests.set.of_key(99_999), set("000000099999").as_bytes());
        assert_eq!(requests.set.of_key(7), set("000000000007").as_bytes());
        assert_eq!(requests.get.of_key(12_340), b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012340\r\n");
    }

    #[test]
    fn keys_differ_and_lengths_do_not() {
        let mut requests = Requests::new();
        let keys: std::collections::BTreeSet<Vec<u8>> = (0..100).map(|_| requests.next(Kind::Get).to_vec()).collect();
        assert!(keys.len() > 90);
        assert!(keys.iter().all(|request| request.len() == 36 && request.is_ascii()));
    }
}
