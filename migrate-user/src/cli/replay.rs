//! `migrate replay`.

use super::text::{count, micros, print, print_json};
use super::{CliError, Global, client};
use crate::agent::api::{Code, ReplayReport, ReplayRequest, Request, Response};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate replay date.log
  migrate replay --json date.log";

/// Replay a recorded log in a fresh container and compare every call, the output and the exit code.
///
/// The image must be on this host. Exit code 4: the replica did something else than the log says; 5: the log itself is bad.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replay {
    /// What `migrate record` wrote.
    file: PathBuf,
    /// Seconds after which the replica is killed.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

impl Replay {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let file = std::fs::canonicalize(&self.file)
            .map_err(|error| CliError::caused(Code::BadLog, format!("cannot read {}", self.file.display()), error))?;
        let timeout_ms = self.timeout.map(|seconds| seconds.saturating_mul(1000));
        let report = match client::ask(global, &Request::Replay(ReplayRequest { file, timeout_ms }))? {
            Response::Replay(report) => report,
            other => return Err(client::unexpected(&other)),
        };
        if global.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        Ok(if report.converged { ExitCode::SUCCESS } else { ExitCode::from(Code::Diverged.exit_code()) })
    }
}

fn text(report: &ReplayReport) -> String {
    let verdict = if report.converged { "converged" } else { "diverged" };
    let mut out = format!(
        "{verdict}: {} records in {}; exit code {}\n",
        count(report.records),
        micros(report.elapsed_us),
        report.exit_code
    );
    for difference in &report.differences {
        out.push_str(&format!("  - {difference}\n"));
    }
    out
}
