//! The project's front door: `cargo xtask --help`.

mod ebpf;
mod paths;
mod run;
mod setup;

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Builds, tries and tests the project. Every command is complete by itself on a fresh Debian 12, as root.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Installs what is missing on this machine; does nothing the second time
    Setup(SetupArgs),
    /// Compiles the eBPF programs
    Ebpf,
    /// Compiles everything: the eBPF programs, then `migrate` and the helpers of the lab
    Build(BuildArgs),
}

#[derive(Debug, Args)]
struct SetupArgs {
    /// Only look: say what is missing, and fail if something is
    #[arg(long)]
    check: bool,
    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// Build with optimisations
    #[arg(long)]
    release: bool,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let root = paths::root();
    match cli.task {
        Task::Setup(args) => {
            setup::run(&root, setup::Options { check: args.check, json: args.json, quiet: false })?;
        }
        Task::Ebpf => {
            ebpf::build(&root)?;
        }
        Task::Build(args) => {
            ebpf::build(&root)?;
            let mut cargo = Command::new(paths::cargo());
            cargo.current_dir(&root).args(["build", "--workspace", "--exclude", "migrate-ebpf", "--bins"]);
            if args.release {
                cargo.arg("--release");
            }
            run::run(&mut cargo)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
