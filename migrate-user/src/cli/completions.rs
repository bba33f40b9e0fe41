//! `migrate completions`.

use super::{Cli, CliError, text};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate completions bash > /etc/bash_completion.d/migrate
  migrate completions zsh > /usr/share/zsh/site-functions/_migrate";

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "migrate", &mut script);
        text::print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
