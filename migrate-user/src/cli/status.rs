//! `migrate status`.

use super::text::{bytes, count, micros, print, print_json};
use super::{CliError, Global, client};
use crate::agent::api::{Request, Response};
use clap::Args;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate status
  migrate status --stop          # end the agent; containers run on, unrecorded";

/// Show what the agent says of itself, or end it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    /// End the agent.
    #[arg(long)]
    stop: bool,
}

impl Status {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let request = if self.stop { Request::Shutdown {} } else { Request::Status {} };
        match client::ask(global, &request)? {
            Response::Status(status) if global.json => print_json(&status)?,
            Response::Status(status) => print(&format!(
                "agent {} (pid {}), up {}\nlistens     {}\ncontainers  {}\nlogs        {}, each at most {}, in {}\nlost        {} records\nserialised  {} containers, {} rotations at calls, {} in user code\n",
                status.version,
                status.pid,
                micros(status.uptime_us),
                status.listen,
                count(status.containers),
                bytes(status.spool_bytes),
                bytes(status.spool_limit_bytes),
                status.state_dir.display(),
                count(status.lost_records),
                count(status.serial_containers),
                count(status.rotations_at_calls),
                count(status.rotations_in_user_code),
            ))?,
            Response::Ok {} => {}
            other => return Err(client::unexpected(&other)),
        }
        Ok(ExitCode::SUCCESS)
    }
}
