//! The tests that cargo knows, counted from what the test programs print.
//!
//! A test that finds that it cannot run here prints a line `skipped: REASON` and returns; such a test counts as skipped.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use migrate_tests::lab::Lab;

use super::tally::Tally;
use crate::{paths, run};

/// Tells tests where Docker daemons are: their sockets, separated by colons.
const DOCKERS_VARIABLE: &str = "MIGRATE_TEST_DOCKERS";

/// Runs all tests of the workspace except those of the eBPF crate, which is not for this machine's processor.
///
/// Tests that need Docker daemons get the lab's.
pub(super) fn run(root: &Path, lab: Option<&Lab>, tally: &mut Tally) -> Result<()> {
    let mut cargo = Command::new(paths::cargo());
    cargo
        .current_dir(root)
        .args(["test", "--workspace", "--exclude", "migrate-ebpf", "--no-fail-fast", "--", "--show-output"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(lab) = lab {
        let sockets: Vec<_> = lab.hosts()?.iter().map(|host| host.files.docker_socket()).collect();
        cargo.env(DOCKERS_VARIABLE, env::join_paths(sockets).context("a socket's path holds a colon")?);
    }
    let line = run::shown(&cargo);
    eprintln!("+ {line}");
    let mut child = cargo.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let output = child.stdout.take().expect("standard output is a pipe");
    let mut reader = Reader::default();
    for line in BufReader::new(output).split(b'\n') {
        reader.line(&String::from_utf8_lossy(&line?), tally);
    }
    reader.finish(tally);
    let status = child.wait()?;
    if !status.success() && tally.failed.is_empty() {
        // The compiler's own words stand above, on standard error.
        tally.fail("cargo test", format!("it does not build, or a test program could not run ({status})"));
    }
    Ok(())
}

/// Reads the output of test programs, one after the other.
#[derive(Debug, Default)]
struct Reader {
    /// Of the program that is being read: what each test printed.
    printed: BTreeMap<String, Vec<String>>,
    /// The test whose output is being read.
    current: Option<String>,
    /// A program is being read: its `running N tests` was seen, its result not yet.
    open: bool,
}

impl Reader {
    fn line(&mut self, line: &str, tally: &mut Tally) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.finish(tally);
            self.open = true;
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            self.current = Some(plain(name.trim_end_matches(" stdout")).to_string());
        } else if line.starts_with("test result: ") {
            self.result(line, tally);
        } else if matches!(line, "successes:" | "failures:") {
            self.current = None;
        } else if let Some(name) = &self.current {
            self.printed.entry(name.clone()).or_default().push(line.to_string());
        } else if let Some((name, reason)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored")) {
            tally.skip(plain(name), reason.trim_start_matches(", ").to_string());
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            // Its output follows; the reason is filled in at the end of the program.
            tally.fail(plain(name), String::new());
        } else if line.contains(" has been running for over ") {
            // Said at once: one that hangs says nothing else.
            eprintln!("{line}");
        }
    }

    /// `test result: FAILED. 3 passed; 1 failed; 0 ignored; …`
    fn result(&mut self, line: &str, tally: &mut Tally) {
        let number = |what: &str| -> usize {
            let before = line.split(&format!(" {what}")).next().unwrap_or_default();
            before.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        tally.passed += number("passed");
        for (name, lines) in std::mem::take(&mut self.printed) {
            if let Some(case) = tally.failed.iter_mut().find(|case| case.name == name && case.why.is_empty()) {
                eprintln!("---- {name}\n{}", lines.join("\n"));
                case.why = reason(&lines);
            } else if let Some(why) = lines.iter().find_map(|line| line.strip_prefix("skipped: ")) {
                tally.passed -= 1;
                tally.skip(name, why);
            }
        }
        self.current = None;
        self.open = false;
    }

    /// At the end of the output, or when the next program begins: one that gave no result has crashed.
    fn finish(&mut self, tally: &mut Tally) {
        if std::mem::take(&mut self.open) {
            tally.fail("a test program", "it ended before it gave its result");
        }
    }
}

/// A test's name without the kind and the padding that libtest-mimic puts around it: `[signal] name   `.
fn plain(name: &str) -> &str {
    let name = name.trim();
    match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, name)) => name.trim(),
        None => name,
    }
}

/// The line that tells most: behind the panic's place.
fn reason(lines: &[String]) -> String {
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let rest = panic.map_or(lines, |at| &lines[at + 1..]);
    rest.iter().find(|line| !line.trim().is_empty()).cloned().unwrap_or_else(|| "it said nothing".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Tally {
        let (mut reader, mut tally) = (Reader::default(), Tally::default());
        text.lines().for_each(|line| reader.line(line, &mut tally));
        reader.finish(&mut tally);
        tally
    }

    #[test]
    fn passed_failed_ignored_and_skipped_are_told_apart() {
        let tally = read(
            "\nrunning 4 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ignored, needs a moon\ntest d ... ok\n\n\
             successes:\n\n---- d stdout ----\nskipped: no root\n\n\nsuccesses:\n    a\n    d\n\nfailures:\n\n---- b stdout ----\n\n\
             thread 'b' panicked at x.rs:1:\nassertion failed\n\n\nfailures:\n    b\n\n\
             test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(tally.line(), "1 passed, 1 failed, 2 skipped");
        assert_eq!((tally.failed[0].name.as_str(), tally.failed[0].why.as_str()), ("b", "assertion failed"));
        let reasons: Vec<&str> = tally.skipped.iter().map(|case| case.why.as_str()).collect();
        assert_eq!(reasons, ["needs a moon", "no root"]);
    }

    #[test]
    fn the_words_of_libtest_mimic_are_understood() {
        let tally = read(
            "running 2 tests\ntest a                 ... ok\ntest [signal]  b       ... FAILED\n\nfailures:\n\n---- b ----\nit is late\n\n\n\
             failures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(tally.line(), "1 passed, 1 failed, 0 skipped");
        assert_eq!((tally.failed[0].name.as_str(), tally.failed[0].why.as_str()), ("b", "it is late"));
    }

    #[test]
    fn a_program_that_crashes_counts_as_failed() {
        let tally = read("running 2 tests\ntest a ... ok\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored\n");
        assert_eq!(tally.line(), "0 passed, 1 failed, 0 skipped");
    }
}
