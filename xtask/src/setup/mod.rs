//! `cargo xtask setup`: brings a fresh Debian 12 to the point where everything else works.
//!
//! Setup is a list of steps. Each step looks first and acts only when something is missing, so a second run does nothing. It
//! installs Debian packages and one program from crates.io; it never starts a service of the machine.

mod linker;
mod packages;
mod toolchain;

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

/// What setup needs, or found missing, of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was there; nothing was done.
    Present,
    /// It was missing and is there now.
    Installed,
    /// It is missing, and nothing was done about it (`--check`).
    Missing,
}

/// One line of setup's report.
#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub state: State,
    /// Which package, file or version was found, installed or missed.
    pub detail: String,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    ready: bool,
    changed: usize,
    steps: &'a [Step],
}

/// How setup is to behave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only look, install nothing.
    pub check: bool,
    /// Print the report as one line of JSON.
    pub json: bool,
    /// Print nothing when nothing was done.
    pub quiet: bool,
}

/// Runs every step in order. With `check`, fails when something is missing.
pub fn run(root: &Path, options: Options) -> Result<()> {
    let steps = [
        packages::step("packages", packages::BASE, options.check)?,
        toolchain::step(options.check)?,
        linker::step(root, options.check)?,
    ];
    report(&steps, options)
}

/// Installs what only the benchmarks need.
pub fn bench() -> Result<()> {
    report(&[packages::step("bench", packages::BENCH, false)?], Options { quiet: true, ..Options::default() })
}

fn report(steps: &[Step], options: Options) -> Result<()> {
    let count = |state| steps.iter().filter(|step| step.state == state).count();
    let (missing, changed) = (count(State::Missing), count(State::Installed));
    if options.json {
        println!("{}", serde_json::to_string(&Report { ready: missing == 0, changed, steps })?);
    } else if !options.quiet || changed + missing > 0 {
        for step in steps {
            let state = format!("{:?}", step.state).to_lowercase();
            println!("{:<14} {state:<10} {}", step.name, step.detail);
        }
    }
    if missing > 0 {
        bail!("{missing} of {} steps are missing something; run `cargo xtask setup` as root", steps.len());
    }
    Ok(())
}
