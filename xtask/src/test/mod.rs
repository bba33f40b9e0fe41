//! `cargo xtask test`: everything that has to hold, from unit tests to whole migrations. The last line is
//! `N passed, N failed, N skipped`.

mod in_lab;
mod libtest;
mod tally;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use migrate_tests::lab::Lab;

use crate::{ebpf, setup};
use tally::Tally;

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Print the result as JSON before the last line
    #[arg(long)]
    json: bool,
    /// Run only one part
    #[arg(long)]
    only: Option<Part>,
    /// Where the lab of the migrations keeps its files
    #[arg(long, env = "MIGRATE_LAB", value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The tests that cargo knows
    Cargo,
    /// Every guest recorded and replayed in the lab
    Guests,
    /// Whole migrations in the lab
    Migrations,
}

pub fn run(root: &Path, args: TestArgs) -> Result<ExitCode> {
    let started = Instant::now();
    setup::run(root, setup::Options { quiet: true, ..setup::Options::default() })?;
    ebpf::build(root)?;
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let mut tally = Tally::default();
    let mut lab = in_lab::up(root, args.dir, &mut tally);
    if wanted(Part::Cargo) {
        libtest::run(root, lab.as_ref(), &mut tally)?;
    }
    if let Some(lab) = &mut lab {
        in_lab::run(root, lab, wanted(Part::Guests), wanted(Part::Migrations), &mut tally)?;
        Lab::down(&lab.dir)?;
    }
    tally.print_details();
    if args.json {
        println!("{}", tally.json(started.elapsed())?);
    }
    println!("{}", tally.line());
    Ok(if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
