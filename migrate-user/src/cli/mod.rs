//! The command line.

mod runtime;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Moves running containers between hosts.
#[derive(Debug, Parser)]
#[command(name = "migrate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Runtime(runtime::Runtime),
    #[command(hide = true)]
    RuntimeHook(runtime::RuntimeHook),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Runtime(args) => args.run(),
        Command::RuntimeHook(args) => args.run(),
    }
}
