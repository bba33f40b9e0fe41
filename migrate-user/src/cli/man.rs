//! `migrate man`.

use super::{Cli, CliError, text};
use crate::agent::api::Code;
use clap::{Args, CommandFactory as _};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  migrate man | man -l -
  migrate man move > /usr/local/share/man/man1/migrate-move.1";

/// Print a manual page.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Man {
    /// A subcommand; the program itself if left out.
    subcommand: Option<String>,
}

impl Man {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        text::print(&page(self.subcommand.as_deref())?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn page(subcommand: Option<&str>) -> Result<String, CliError> {
    let mut command = Cli::command();
    command.build();
    let command = match subcommand {
        None => command,
        Some(name) => {
            let found = command.find_subcommand(name).cloned();
            found.ok_or_else(|| CliError::other(Code::Usage, format!("no subcommand {name}")))?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_a_page_with_examples() {
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && !["help", "runtime"].contains(&sub.get_name())) {
            let page = page(Some(sub.get_name())).unwrap();
            assert!(page.contains(".TH") && page.contains("Examples:"), "{}", sub.get_name());
        }
        assert!(page(Some("dance")).unwrap_err().to_string().contains("dance"));
        Cli::command().debug_assert();
    }
}
