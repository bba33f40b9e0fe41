//! Chains whose every link can be calculated: what the guests `threads` and `shm` print.
//!
//! ```text
//!   links 0 DIGEST                  a random start
//!   links N DIGEST EVENT EVENT …    N = 1, 2, 3 …; DIGEST = the one before, mixed with each event in order
//! ```
//!
//! An event is a hexadecimal number that says who did what: an acquisition of a lock, mostly. A program that was forked, or begun
//! again, or whose events happened in another order after the digest was taken, prints a line that does not follow.

use super::counting::CountError;

/// One step of a chain, as the guests take it (`tests/guests/src/kit/chain.rs`).
fn mix(digest: u64, word: u64) -> u64 {
    let mixed = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_add(0x632b_e59b_d9b4_e019)
}

/// The last number of an output of links.
pub(super) fn links(what: &'static str, text: &str) -> Result<u64, CountError> {
    let mut last: Option<(u64, u64)> = None;
    for line in text.lines() {
        let format = || CountError::Format { what, line: line.to_string() };
        let Some(rest) = line.strip_prefix("links ") else {
            // What it says at its end.
            if line.split(' ').take(2).any(|word| word == "end") {
                continue;
            }
            return Err(format());
        };
        let mut words = rest.split(' ');
        let number: u64 = words.next().and_then(|word| word.parse().ok()).ok_or_else(format)?;
        let digest = words.next().filter(|word| word.len() == 16).ok_or_else(format)?;
        let value = u64::from_str_radix(digest, 16).map_err(|_| format())?;
        let events: Vec<u64> = words.map(|word| u64::from_str_radix(word, 16)).collect::<Result<_, _>>().map_err(|_| format())?;
        let wanted = last.map_or(0, |(number, _)| number + 1);
        if number != wanted {
            let after = last.map_or(0, |(number, _)| number);
            return Err(CountError::Gap { what, after, line: line.to_string(), wanted });
        }
        if let Some((_, before)) = last {
            let wanted = events.into_iter().fold(before, mix);
            if wanted != value {
                return Err(CountError::Link { what, number, digest: digest.to_string(), wanted });
            }
        }
        last = Some((number, value));
    }
    Ok(last.map_or(0, |(number, _)| number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a chain with these events in each.
    fn chain(lines: &[&[u64]]) -> Vec<String> {
        let mut digest = 0x1234;
        let mut text = vec![format!("links 0 {digest:016x}")];
        for (number, events) in lines.iter().enumerate() {
            digest = events.iter().fold(digest, |digest, event| mix(digest, *event));
            let words: String = events.iter().map(|event| format!(" {event:x}")).collect();
            text.push(format!("links {} {digest:016x}{words}", number + 1));
        }
        text
    }

    #[test]
    fn a_whole_chain_is_counted() {
        let mut lines = chain(&[&[1, 2, 3], &[0x2_01], &[]]);
        assert_eq!(links("x", &lines.join("\n")), Ok(3));
        lines.push("threads end 0123456789abcdef".to_string());
        assert_eq!(links("x", &lines.join("\n")), Ok(3));
        assert_eq!(links("x", ""), Ok(0));
    }

    #[test]
    fn events_in_another_order_do_not_follow() {
        let lines = chain(&[&[1, 2, 3], &[4, 5]]);
        for wrong in
            ["links 1 0000000000000000 1 2 3".to_string(), lines[1].replace(" 1 2 3", " 2 1 3"), lines[1].replace(" 3", "")]
        {
            let text = [lines[0].clone(), wrong, lines[2].clone()].join("\n");
            assert!(matches!(links("x", &text), Err(CountError::Link { number: 1, .. })), "{text}");
        }
    }

    #[test]
    fn a_chain_that_began_again_or_was_forked_is_broken() {
        let lines = chain(&[&[1], &[2], &[3]]);
        let again = [lines.clone(), lines.clone()].concat();
        assert!(matches!(links("x", &again.join("\n")), Err(CountError::Gap { after: 3, wanted: 4, .. })));
        let twice = [&lines[..3], &lines[2..]].concat();
        assert!(matches!(links("x", &twice.join("\n")), Err(CountError::Gap { after: 2, wanted: 3, .. })));
        let missing = [&lines[..2], &lines[3..]].concat();
        assert!(matches!(links("x", &missing.join("\n")), Err(CountError::Gap { after: 1, wanted: 2, .. })));
        // The other branch of a fork: the same number, after the same line, with other events.
        let fork = [lines[..3].to_vec(), chain(&[&[1], &[7], &[3]])[3..].to_vec()].concat();
        assert!(matches!(links("x", &fork.join("\n")), Err(CountError::Link { number: 3, .. })));
    }

    #[test]
    fn other_lines_are_no_links() {
        assert!(links("x", "threads: a check failed\n").is_err());
        assert!(links("x", "links 0 12\n").is_err());
        assert!(links("x", "links 0 0123456789abcdef\nlinks 1 0123456789abcdef zz\n").is_err());
    }
}
