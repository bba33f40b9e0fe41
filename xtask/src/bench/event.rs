//! Nanoseconds per event: runs the benchmark `per_event` of migrate-user, which loads the programs itself.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Common;
use crate::{paths, run};

/// The most that the recorder may cost, in costs of the bare program.
const GOAL: f64 = 1.5;

/// Adds the goal and whether it was met.
pub fn judge(event: &mut Value) {
    let number = |field: &str| event[field].as_f64();
    let met = number("ns_per_event").zip(number("ns_per_event_bare")).map(|(ns, bare)| ns <= GOAL * bare);
    event["goal"] = GOAL.into();
    event["met"] = met.into();
}

/// The last line of the benchmark.
pub fn run(root: &Path, common: &Common) -> Result<Value> {
    let bare = paths::target(root).join("bpf/migrate-bare.o");
    let bare = std::path::absolute(&bare).with_context(|| format!("cannot resolve {}", bare.display()))?;
    let mut cargo = Command::new(paths::cargo());
    cargo.current_dir(root).args(["bench", "--quiet", "--package", "migrate-user", "--bench", "per_event"]);
    if common.no_build {
        // What the tests have built mostly fits; its user-space half only empties the ring.
        cargo.args(["--profile", "dev"]);
    }
    cargo.arg("--").arg("--bare").arg(bare).args(["--rounds", &common.pairs.to_string()]);
    let line = run::shown(&cargo);
    let output = cargo.stderr(std::process::Stdio::inherit()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("`{line}` said {last:?}"))
}
