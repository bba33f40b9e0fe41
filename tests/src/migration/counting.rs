//! Outputs that number their lines, so that a line lost or repeated at a move shows.

/// Why a numbered output is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    #[error("{what}: after {after} comes {line:?}, not {wanted}")]
    Gap { what: &'static str, after: u64, line: String, wanted: u64 },
    #[error("{what}: line {line} was {before:?} before the move and is {after:?} after it")]
    Changed { what: &'static str, line: usize, before: String, after: String },
    #[error("{what}: {now} lines, there were {before} before the move: it does not go on")]
    Still { what: &'static str, before: u64, now: u64 },
    #[error("{what}: {line:?} is not a line of digests")]
    Format { what: &'static str, line: String },
    #[error("{what}: line {number} says {digest} after events that lead to {wanted:016x}")]
    Link { what: &'static str, number: u64, digest: String, wanted: u64 },
    #[error("the file ends with {file}, the output with {output}: they are too far apart")]
    Apart { file: u64, output: u64 },
}

/// The last number of an output whose lines are 1, 2, 3 …; 0 when it is empty.
pub(super) fn count(what: &'static str, text: &str) -> Result<u64, CountError> {
    let mut last = 0;
    for line in text.lines() {
        let wanted = last + 1;
        if line.trim().parse() != Ok(wanted) {
            return Err(CountError::Gap { what, after: last, line: line.to_string(), wanted });
        }
        last = wanted;
    }
    Ok(last)
}

/// The last number of an output whose lines are `NAME NUMBER DIGEST…`; the numbers of the lines with one name are 1, 2, 3 … or
/// 0, 1, 2 …. The digest of a line depends on all earlier ones, so a replica that left its source's path says something else.
pub(super) fn chain(what: &'static str, text: &str) -> Result<u64, CountError> {
    let mut last: Option<u64> = None;
    for line in text.lines().filter(|line| !line.starts_with("unsupported:")) {
        let format = || CountError::Format { what, line: line.to_string() };
        let mut words = line.split_whitespace().skip(1);
        let number: u64 = words.next().and_then(|word| word.parse().ok()).ok_or_else(format)?;
        let digest = words.next().ok_or_else(format)?;
        if digest.len() != 16 || u64::from_str_radix(digest, 16).is_err() {
            return Err(format());
        }
        match last {
            None if number <= 1 => {}
            Some(last) if number == last + 1 => {}
            _ => {
                let after = last.unwrap_or(0);
                return Err(CountError::Gap { what, after, line: line.to_string(), wanted: last.map_or(1, |last| last + 1) });
            }
        }
        last = Some(number);
    }
    Ok(last.unwrap_or(0))
}

/// What was said before the move must stand unchanged at the beginning of what is there after it.
pub(super) fn continues(what: &'static str, before: &str, after: &str) -> Result<(), CountError> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    for (line, text) in old.iter().enumerate() {
        let there = new.get(line).copied().unwrap_or_default();
        if there != *text {
            return Err(CountError::Changed { what, line: line + 1, before: (*text).to_string(), after: there.to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_missing_or_twice_is_found() {
        assert_eq!(count("x", "1\n2\n3\n"), Ok(3));
        assert_eq!(count("x", ""), Ok(0));
        assert!(count("x", "1\n3\n").is_err());
        assert!(count("x", "1\n2\n2\n").is_err());
        assert!(count("x", "2\n3\n").is_err());
        assert!(count("x", "1\ntwo\n").is_err());
    }

    #[test]
    fn a_chain_needs_numbers_in_order_and_digests() {
        assert_eq!(chain("x", "inputs 1 0123456789abcdef\ninputs 2 0123456789abcdee\n"), Ok(2));
        assert_eq!(chain("x", "inputs 0 0123456789abcdef\nunsupported: inotify\ninputs 1 0123456789abcdee more\n"), Ok(1));
        assert!(chain("x", "inputs 1 0123456789abcdef\ninputs 3 0123456789abcdee\n").is_err());
        assert!(chain("x", "inputs 1 oops\n").is_err());
        assert!(chain("x", "inputs: a check failed\n").is_err());
    }

    #[test]
    fn what_was_said_before_must_stand() {
        assert!(continues("x", "a\nb\n", "a\nb\nc\n").is_ok());
        assert!(continues("x", "a\nb\n", "a\nc\n").is_err());
        assert!(continues("x", "a\nb\n", "a\n").is_err());
    }
}
