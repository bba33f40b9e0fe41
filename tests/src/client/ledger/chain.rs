//! A ledger: each entry follows from the one before it and from a token that a client chose, so that one that was lost, done
//! twice, or done to an old state shows, whichever client asked for it.
//!
//! ```text
//!   after = (before * 48271 + token) mod (2^31 - 1),  before of entry 1 = 1
//! ```
//!
//! The numbers are small enough for a shell's arithmetic and for JavaScript's.

/// What the first entry follows.
pub const START: u64 = 1;
const FACTOR: u64 = 48_271;
const MODULUS: u64 = (1 << 31) - 1;

/// The state that follows.
pub fn next(before: u64, token: u64) -> u64 {
    (before * FACTOR + token) % MODULUS
}

/// What a server answers to one request: `NUMBER BEFORE AFTER TOKEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// 1 for the first.
    pub number: u64,
    pub before: u64,
    pub after: u64,
    pub token: u64,
}

impl Entry {
    pub fn parse(text: &str) -> Option<Self> {
        let [number, before, after, token] = words(text)?;
        Some(Self { number, before, after, token })
    }

    /// Whether the entry by itself is right: it follows from what it says was before.
    pub fn follows(&self) -> bool {
        self.before < MODULUS && self.after == next(self.before, self.token)
    }
}

/// What a server says at the end: `NUMBER STATE WORD…`, where the words are `ok` or what it finds wrong with itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub number: u64,
    pub state: u64,
    pub verdict: String,
}

impl End {
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().splitn(3, ' ');
        let (number, state) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { number, state, verdict: words.next()?.to_string() })
    }
}

/// What is wrong with a ledger, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wrongs {
    /// Numbers that nobody was told of, or that were forgotten afterwards.
    pub lost: u64,
    /// Numbers that two clients were told.
    pub doubled: u64,
    /// Entries that do not follow the one before them.
    pub broken: u64,
}

/// Compares all acknowledged entries with each other and with the end; `open` requests were never answered: they may have made
/// an entry or not.
pub fn settle(mut entries: Vec<Entry>, end: &End, open: u64) -> Wrongs {
    entries.sort_unstable();
    let all = entries.len() as u64;
    let broken_alone = entries.iter().filter(|entry| !entry.follows()).count() as u64;
    let twice = entries.windows(2).filter(|pair| pair[0].number == pair[1].number).count() as u64;
    entries.dedup_by_key(|entry| entry.number);
    let mut wrongs = Wrongs { doubled: twice, broken: broken_alone, lost: 0 };
    let mut last = (0, START);
    for entry in &entries {
        if entry.number == last.0 + 1 && entry.before != last.1 {
            wrongs.broken += 1;
        }
        last = (entry.number, entry.after);
    }
    if last.0 == end.number && last.1 != end.state {
        wrongs.broken += 1;
    }
    // Acknowledged and beyond the end: forgotten. Below it and not acknowledged: lost on the way, or invented.
    let forgotten = entries.iter().filter(|entry| entry.number > end.number).count() as u64;
    let unknown = (end.number + twice + forgotten).saturating_sub(all).saturating_sub(open);
    wrongs.lost = forgotten + unknown;
    wrongs
}

fn words<const N: usize>(text: &str) -> Option<[u64; N]> {
    let numbers: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger of so many entries, and its end.
    fn ledger(entries: u64) -> (Vec<Entry>, End) {
        let mut state = START;
        let made = (1..=entries)
            .map(|number| {
                let (before, token) = (state, number * 7919);
                state = next(before, token);
                Entry { number, before, after: state, token }
            })
            .collect();
        (made, End { number: entries, state, verdict: "ok".to_string() })
    }

    #[test]
    fn a_whole_ledger_is_right_in_any_order() {
        let (mut entries, end) = ledger(20);
        entries.reverse();
        assert_eq!(settle(entries, &end, 0), Wrongs::default());
        assert_eq!(settle(Vec::new(), &ledger(0).1, 0), Wrongs::default());
    }

    #[test]
    fn an_entry_that_is_missing_is_lost_unless_it_is_open() {
        let (mut entries, end) = ledger(20);
        entries.remove(7);
        assert_eq!(settle(entries.clone(), &end, 1), Wrongs::default());
        assert_eq!(settle(entries, &end, 0), Wrongs { lost: 1, ..Wrongs::default() });
    }

    #[test]
    fn a_server_that_went_back_is_found() {
        let (mut entries, _) = ledger(20);
        let (other, end) = ledger(18);
        assert_eq!(settle(entries.clone(), &end, 0).lost, 2);
        // It goes on from entry 18 with other tokens: two entries 19, the second of which follows entry 18 as well.
        let before = other[17].after;
        entries.push(Entry { number: 19, before, after: next(before, 5), token: 5 });
        let end = End { number: 20, ..ledger(20).1 };
        assert_eq!(settle(entries, &end, 0).doubled, 1);
    }

    #[test]
    fn an_entry_that_does_not_follow_is_broken() {
        let (mut entries, end) = ledger(20);
        entries[9].token += 1;
        assert_eq!(settle(entries.clone(), &end, 0).broken, 1);
        // By itself it is right, but the ledger had another state before it.
        entries[9].after = next(entries[9].before, entries[9].token);
        assert_eq!(settle(entries, &end, 0).broken, 1);
        let (entries, end) = ledger(20);
        assert_eq!(settle(entries, &End { state: end.state + 1, ..end }, 0).broken, 1);
    }

    #[test]
    fn answers_are_four_numbers() {
        assert_eq!(Entry::parse("1 1 48280 9\n"), Some(Entry { number: 1, before: 1, after: 48_280, token: 9 }));
        assert!(Entry::parse("1 1 48280 9").unwrap().follows());
        for wrong in ["", "1 2 3", "1 2 3 4 5", "1 2 three 4"] {
            assert!(Entry::parse(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(End::parse("3 77 row 2 is missing\n").unwrap().verdict, "row 2 is missing");
        assert!(End::parse("3 77").is_none());
    }
}
