//! `migrate resolve`.

use super::text::print;
use super::{CliError, Global, client};
use crate::agent::api::{Keep, Request, Response};
use clap::{Args, ValueEnum};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate resolve web --keep there      # the other host has it: drop the frozen copy here
  migrate resolve web --keep here       # the other host is gone for good: thaw the copy here

Look at `migrate ps` on the other host first. If both copies go live, clients see two containers with one address.";

/// Decide by hand who owns a container whose move is in doubt.
///
/// A move is in doubt when this agent has told the other to go live and does not hear back. By itself it asks again until it hears,
/// so this is for a host that will not come back.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Resolve {
    /// Name, id, or an id's unique start.
    container: String,
    /// Which copy lives on.
    #[arg(long)]
    keep: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The copy on this host: it is thawed.
    Here,
    /// The copy on the other host: the one here is removed.
    There,
}

impl Resolve {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let keep = match self.keep {
            Which::Here => Keep::Here,
            Which::There => Keep::There,
        };
        match client::ask(global, &Request::Resolve { container: self.container.clone(), keep })? {
            Response::Ok {} => {}
            other => return Err(client::unexpected(&other)),
        }
        if !global.json {
            print(&format!("{}: the copy {} lives on\n", self.container, if keep == Keep::Here { "here" } else { "there" }))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
