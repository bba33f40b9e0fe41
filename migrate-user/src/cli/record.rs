//! `migrate record`.

use super::text::{bytes, count, micros, print_json};
use super::{CliError, Global, client};
use crate::agent::api::{Code, RecordRequest, Request, Response};
use crate::probe::serial::{Policy, PolicyError};
use clap::Args;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate record --out date.log busybox date
  migrate record --out sh.log --env LANG=C busybox sh -c 'echo $$; sleep 1'
  migrate replay date.log";

/// Run a program in a container under record, to its end.
///
/// Its output is shown and kept in the log's footer as a digest; its exit code is in the report. The container has no network and
/// no input.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Record {
    /// Where to write the log.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// A variable for the program, KEY=VALUE. May be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = variable)]
    env: Vec<String>,
    /// Seconds after which the program is killed and nothing is written.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// When its tasks are made to take turns on one CPU: auto, always or never.
    #[arg(long, value_name = "WHEN", value_parser = policy)]
    serialise: Option<String>,
    /// An image that this host has.
    image: String,
    /// What to run in it; the image's own command if left out.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    cmd: Vec<String>,
}

fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("KEY=VALUE is wanted".into()),
    }
}

fn policy(text: &str) -> Result<String, PolicyError> {
    text.parse::<Policy>().map(|_| text.to_owned())
}

impl Record {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let out = std::path::absolute(&self.out);
        let out = out.map_err(|error| CliError::caused(Code::Usage, format!("no path: {}", self.out.display()), error))?;
        let request = RecordRequest {
            image: self.image,
            cmd: self.cmd,
            out,
            env: self.env,
            timeout_ms: self.timeout.map(|seconds| seconds.saturating_mul(1000)),
            serialise: self.serialise,
        };
        let report = match client::ask(global, &Request::Record(request))? {
            Response::Record(report) => report,
            other => return Err(client::unexpected(&other)),
        };
        if global.json {
            print_json(&report)?;
        } else {
            std::io::stdout().write_all(&report.stdout)?;
            std::io::stderr().write_all(&report.stderr)?;
            eprintln!(
                "recorded {} records ({}, {} in {}) in {}; exit code {}",
                count(report.records),
                bytes(report.raw_bytes),
                bytes(report.file_bytes),
                report.out.display(),
                micros(report.elapsed_us),
                report.exit_code
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
