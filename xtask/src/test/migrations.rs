//! Whole migrations in the lab, each once, and each way for the target's agent to die.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use migrate_tests::{
    images::Image,
    lab::{self, Lab},
    migration::{self, Phase, Plan},
    workloads::{self, WORKLOADS, Workload},
};

use super::tally::Tally;
use crate::{build, lab as lab_command};

/// Links as in the measurements that the project compares itself with.
const RATE: &str = "1gbit";
/// The workload whose clients are watched while agents die.
const KILLED: &str = "static";

pub(super) fn run(root: &Path, dir: Option<PathBuf>, tally: &mut Tally) -> Result<()> {
    let cases: Vec<(String, &'static Workload, Option<Phase>)> = WORKLOADS
        .iter()
        .map(|workload| (format!("migration of {}", workload.name), workload, None))
        .chain(Phase::ALL.into_iter().filter_map(|phase| {
            let name = format!("migration of {KILLED}, target killed at {}", phase.name());
            Some((name, workloads::find(KILLED)?, Some(phase)))
        }))
        .collect();
    if let Some(why) = obstacle() {
        cases.iter().for_each(|(name, ..)| tally.skip(name, why));
        return Ok(());
    }
    build::all(root, false)?;
    let store = lab_command::store(root, &Image::ALL)?;
    let dir = dir.unwrap_or_else(|| lab_command::dir(root, None).with_extension("test"));
    let options = lab::Options { rate: RATE.to_string(), agents: true, migrate: build::binary(root, "migrate") };
    let mut lab = match Lab::up(&dir, &options) {
        Ok(lab) => lab,
        Err(error) => {
            cases.iter().for_each(|(name, ..)| tally.fail(name, format!("no lab: {error}")));
            return Ok(());
        }
    };
    for (name, workload, kill) in cases {
        let plan = Plan {
            workload,
            kill,
            unlimited: false,
            image_on_target: kill.is_some_and(|phase| phase != Phase::Image),
            around: Duration::from_secs(1),
            client: build::binary(root, "lab-client"),
        };
        match migration::run(&mut lab, &store, &plan) {
            Ok(outcome) if outcome.passed => {
                eprintln!("ok {name}: down {:.1} ms", outcome.down_ms);
                tally.passed += 1;
            }
            Ok(outcome) => tally.fail(name, outcome.failures.join("; ")),
            Err(error) => tally.fail(name, error.to_string()),
        }
    }
    if !tally.failed.is_empty() {
        // The agents' words are worth having after a failure.
        for host in lab.hosts()? {
            eprintln!("== the agent of {}\n{}", host.state.name, host.log_tail("agent", 40));
        }
    }
    Lab::down(&dir)?;
    Ok(())
}

/// Why there can be no lab here.
fn obstacle() -> Option<&'static str> {
    // SAFETY: geteuid takes no arguments and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    (!root).then_some("the lab needs root")
}
