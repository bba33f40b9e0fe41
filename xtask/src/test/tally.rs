//! Passed, failed and skipped, with a reason for each that did not pass.

use std::time::{Duration, Instant};

use serde::Serialize;

/// A test that did not pass, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Case {
    pub name: String,
    pub why: String,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Tally {
    pub passed: usize,
    pub failed: Vec<Case>,
    pub skipped: Vec<Case>,
}

impl Tally {
    pub(super) fn fail(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.failed.push(Case { name: name.into(), why: why.into() });
    }

    /// Counts one test by its result, and says so at once: these tests take seconds each.
    ///
    /// Past the deadline a test is not run any more and has failed: when everything hangs, somebody still waits for the result.
    pub(super) fn take(&mut self, deadline: Instant, name: impl Into<String>, test: impl FnOnce() -> Result<(), String>) {
        let name = name.into();
        let late = || Err("not run: the tests before it took too long".to_string());
        match if Instant::now() < deadline { test() } else { late() } {
            Ok(()) => {
                eprintln!("ok      {name}");
                self.passed += 1;
            }
            Err(why) => {
                eprintln!("FAILED  {name}: {why}");
                self.fail(name, why);
            }
        }
    }

    pub(super) fn skip(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.skipped.push(Case { name: name.into(), why: why.into() });
    }

    pub(super) fn print_details(&self) {
        for case in &self.skipped {
            println!("skipped {}: {}", case.name, case.why);
        }
        for case in &self.failed {
            println!("FAILED {}: {}", case.name, case.why);
        }
    }

    pub(super) fn json(&self, elapsed: Duration) -> anyhow::Result<String> {
        let value = serde_json::json!({
            "passed": self.passed,
            "failed": self.failed.len(),
            "skipped": self.skipped.len(),
            "seconds": elapsed.as_secs(),
            "failures": self.failed,
            "skips": self.skipped,
        });
        Ok(serde_json::to_string(&value)?)
    }

    pub(super) fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }
}
