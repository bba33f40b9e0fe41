//! The project's front door: `cargo xtask --help`.

mod bench;
mod build;
mod demo;
mod ebpf;
mod lab;
mod paths;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

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
    /// Moves a container in the lab, under load, and checks everything
    Demo(demo::DemoArgs),
    /// Runs every test, whole migrations included
    Test(test::TestArgs),
    /// Measures what recording costs and how large the log is
    Bench(bench::BenchArgs),
    /// Two hosts on this machine, each with its own Docker and agent, and a client
    Lab(lab::LabArgs),
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
            setup::run(&root, setup::Options { quiet: true, ..setup::Options::default() })?;
            build::all(&root, args.release)?;
        }
        Task::Demo(args) => return demo::run(&root, &args),
        Task::Test(args) => return test::run(&root, args),
        Task::Bench(args) => return bench::run(&root, &args),
        Task::Lab(args) => return lab::run(&root, args),
    }
    Ok(ExitCode::SUCCESS)
}
