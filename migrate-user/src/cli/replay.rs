//! `migrate replay`.

use super::text::{count, micros, print, print_json};
use super::{CliError, Global, client};
use crate::agent::api::{Code, MemoryReport, ReplayReport, ReplayRequest, Request, Response};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate replay date.log
  migrate replay --verify date.log
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
    /// Compare the memory of each process at its end with the recorded one's, page by page.
    #[arg(long)]
    verify: bool,
}

impl Replay {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let file = std::fs::canonicalize(&self.file)
            .map_err(|error| CliError::caused(Code::BadLog, format!("cannot read {}", self.file.display()), error))?;
        let timeout_ms = self.timeout.map(|seconds| seconds.saturating_mul(1000));
        let report = match client::ask(global, &Request::Replay(ReplayRequest { file, timeout_ms, verify: self.verify }))? {
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
    if let Some(memory) = &report.memory {
        out.push_str(&memory_text(memory));
    }
    for difference in &report.differences {
        out.push_str(&format!("  - {difference}\n"));
    }
    out
}

/// `memory: 4,211 pages of 7 processes compared; 3 loader, 2 below_stack pages differ as they may`
fn memory_text(memory: &MemoryReport) -> String {
    let mut out =
        format!("memory: {} pages of {} processes compared", count(memory.pages_compared), count(memory.processes_compared));
    if !memory.pages_differing.is_empty() {
        let kinds: Vec<_> = memory.pages_differing.iter().map(|(kind, pages)| format!("{} {kind}", count(*pages))).collect();
        out.push_str(&format!("; pages that differ: {}", kinds.join(", ")));
    }
    out.push('\n');
    for unproven in &memory.not_compared {
        out.push_str(&format!("  process {} was not compared: {}\n", unproven.process, unproven.why));
    }
    if memory.ended_with_first > 0 {
        out.push_str(&format!("  {} processes ended with the first: not compared\n", count(memory.ended_with_first)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::api::Unproven;

    #[test]
    fn what_was_compared_and_what_was_not_is_told_by_number_and_name() {
        let memory = MemoryReport {
            processes_compared: 2,
            pages_compared: 1500,
            pages_differing: [("loader".to_owned(), 3), ("rseq".to_owned(), 1)].into(),
            not_compared: vec![Unproven { process: 7, why: "it shares its memory with another process".to_owned() }],
            ..MemoryReport::default()
        };
        let expected = "memory: 1,500 pages of 2 processes compared; pages that differ: 3 loader, 1 rseq\n  \
                        process 7 was not compared: it shares its memory with another process\n";
        assert_eq!(memory_text(&memory), expected);
    }
}
