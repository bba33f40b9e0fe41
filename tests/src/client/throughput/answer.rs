//! The answers that are right, and how much of one has come: an answer may arrive in pieces.

use super::request::{Kind, VALUE, VALUE_BYTES};

const STORED: &[u8] = b"+OK\r\n";
/// To a GET of a key that nobody has set yet.
const NOTHING: &[u8] = b"$-1\r\n";
const HEAD: &[u8] = b"$200\r\n";
const FOUND: &[u8] = &found();
/// Of the longest one.
pub const ANSWER_MAX: usize = FOUND.len();

const fn found() -> [u8; HEAD.len() + VALUE_BYTES + 2] {
    let mut answer = [0; HEAD.len() + VALUE_BYTES + 2];
    let (head, rest) = answer.split_at_mut(HEAD.len());
    head.copy_from_slice(HEAD);
    let (value, end) = rest.split_at_mut(VALUE_BYTES);
    value.copy_from_slice(&VALUE);
    end.copy_from_slice(b"\r\n");
    answer
}

/// How much of an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Part,
    Whole,
    /// It does not become a right one any more.
    Wrong,
}

impl Progress {
    /// Of the answer to a command, of which these bytes have come.
    pub fn of(kind: Kind, received: &[u8]) -> Self {
        let right: &[&[u8]] = match kind {
            Kind::Set => &[STORED],
            Kind::Get => &[FOUND, NOTHING],
        };
        match right.iter().find(|answer| answer.starts_with(received)) {
            None => Self::Wrong,
            Some(answer) if answer.len() == received.len() => Self::Whole,
            Some(_) => Self::Part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_pieces_is_a_part_until_its_last_byte() {
        for (kind, answer) in [(Kind::Set, STORED), (Kind::Get, NOTHING), (Kind::Get, FOUND)] {
            for length in 0..answer.len() {
                assert_eq!(Progress::of(kind, &answer[..length]), Progress::Part, "{kind:?}, {length}");
            }
            assert_eq!(Progress::of(kind, answer), Progress::Whole);
        }
        assert_eq!(FOUND, [b"$200\r\n".as_slice(), &VALUE, b"\r\n"].concat());
    }

    #[test]
    fn what_is_no_right_answer_is_told_at_its_first_wrong_byte() {
        let wrong = |kind, received: &[u8]| assert_eq!(Progress::of(kind, received), Progress::Wrong, "{kind:?}");
        wrong(Kind::Set, b"-");
        wrong(Kind::Set, b"$-1\r\n");
        wrong(Kind::Get, b"+");
        wrong(Kind::Get, b"-LOADING Redis is loading the dataset in memory\r\n");
        wrong(Kind::Get, b"$199");
        wrong(Kind::Get, &[HEAD, &VALUE, b"x"].concat());
        wrong(Kind::Get, &[HEAD, &VALUE[1..]].concat());
    }

    #[test]
    fn bytes_beyond_an_answer_make_it_wrong() {
        assert_eq!(Progress::of(Kind::Set, b"+OK\r\n+OK\r\n"), Progress::Wrong);
        assert_eq!(Progress::of(Kind::Get, &[FOUND, b"$"].concat()), Progress::Wrong);
    }
}
