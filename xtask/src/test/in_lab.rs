//! What needs the lab: every guest recorded and replayed by Docker, damaged logs, whole migrations, and each way for the target's
//! agent to die.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Result;
use migrate_tests::{
    convergence::{self, Damage},
    images::{Image, Store},
    lab::{self, Lab},
    migration::{self, Outcome, Phase, Plan, SPOILS},
    workloads::{self, WORKLOADS, Workload},
};

use super::tally::Tally;
use crate::{build, lab as lab_command};

/// Links as in the measurements that the project compares itself with.
const RATE: &str = "1gbit";
/// All tests of the lab together take a third of that.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The workload whose clients are watched while agents die.
const KILLED: &str = "static";
/// The workload that notices when its memory is changed.
const SPOILT: &str = "table";

/// A lab for the tests, without agents yet; `None`, and the reason counted, when there can be none.
pub(super) fn up(root: &Path, dir: Option<PathBuf>, tally: &mut Tally) -> Option<Lab> {
    // SAFETY: geteuid takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        tally.skip("everything in the lab", "it needs root");
        return None;
    }
    let dir = dir.unwrap_or_else(|| lab_command::dir(root, None).with_extension("test"));
    Lab::up(&dir, &options(root, false)).map_err(|error| tally.fail("the lab", error.to_string())).ok()
}

fn options(root: &Path, agents: bool) -> lab::Options {
    lab::Options { rate: RATE.to_string(), agents, migrate: build::binary(root, "migrate") }
}

/// Runs what was asked for.
pub(super) fn run(root: &Path, lab: &mut Lab, with_guests: bool, with_migrations: bool, tally: &mut Tally) -> Result<()> {
    if !with_guests && !with_migrations {
        return Ok(());
    }
    build::all(root, false)?;
    let store = lab_command::store(root, &Image::ALL)?;
    match Lab::up(&lab.dir, &options(root, true)) {
        Ok(up) => *lab = up,
        Err(error) => {
            tally.fail("the agents", error.to_string());
            return Ok(());
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let failed_before = tally.failed.len();
    if with_guests {
        guests(lab, &store, deadline, tally)?;
    }
    if with_migrations {
        migrations(root, lab, &store, deadline, tally);
    }
    if tally.failed.len() > failed_before {
        // The agents' words are worth having after a failure.
        for host in lab.hosts()? {
            eprintln!("== the agent of {}\n{}", host.state.name, host.log_tail("agent", 40));
        }
    }
    Ok(())
}

fn guests(lab: &mut Lab, store: &Store, deadline: Instant, tally: &mut Tally) -> Result<()> {
    let host = lab.host("h1")?;
    store.load(&host, Image::Guests)?;
    let names = convergence::guests(&store.guests)?;
    for guest in &names {
        tally.take(deadline, format!("guest {guest} converges"), || convergence::converges(&host, guest));
    }
    if let Some(guest) = names.first() {
        for damage in Damage::ALL {
            tally.take(deadline, format!("a log with {damage:?} (of 1000) is refused"), || {
                convergence::refuses(&host, guest, damage)
            });
        }
        let agent = |lab: &mut Lab, environment: &[(&str, &str)]| {
            lab.with_host("h1", |host| host.stop_agent().and_then(|()| host.start_agent(environment)))
        };
        agent(lab, &[SPOILS])?;
        let host = lab.host("h1")?;
        tally.take(deadline, "a page that is changed at a replica's end is found by --verify alone".to_string(), || {
            convergence::proves(&host, guest)
        });
        agent(lab, &[])?;
    }
    Ok(())
}

fn migrations(root: &Path, lab: &mut Lab, store: &Store, deadline: Instant, tally: &mut Tally) {
    let plain = WORKLOADS.iter().filter(|workload| workload.tested).map(|workload| (workload, None));
    let killed = workloads::find(KILLED).into_iter().flat_map(|workload| Phase::ALL.map(|phase| (workload, Some(phase))));
    for (workload, kill) in plain.chain(killed) {
        let name = match kill {
            None => format!("migration of {}", workload.name),
            Some(phase) => format!("migration of {}, target killed at {}", workload.name, phase.name()),
        };
        tally.take(deadline, name, || passed(&migrate(lab, store, &Plan { kill, ..plan(root, workload) })?));
    }
    let Some(workload) = workloads::find(SPOILT) else { return };
    let spoilt = |verify: &str| Plan { spoil: true, verify: verify.to_string(), ..plan(root, workload) };
    for verify in ["touched", "all"] {
        tally.take(deadline, format!("a page of the replica that is changed is found and mended with --verify {verify}"), || {
            passed(&Outcome { pages_unexplained: 0, ..migrate(lab, store, &spoilt(verify))? })
        });
    }
    tally.take(deadline, "a page of the replica that is changed is noticed where nothing is compared".to_string(), || {
        let outcome = migrate(lab, store, &spoilt("off"))?;
        if outcome.moved && !outcome.passed { Ok(()) } else { Err(format!("nobody noticed it: {:?}", outcome.failures)) }
    });
}

fn plan(root: &Path, workload: &'static Workload) -> Plan {
    Plan {
        workload,
        kill: None,
        spoil: false,
        verify: "touched".to_string(),
        unlimited: false,
        stay: false,
        image_on_target: false,
        around: Duration::from_secs(1),
        client: build::binary(root, "lab-client"),
    }
}

fn migrate(lab: &mut Lab, store: &Store, plan: &Plan) -> Result<Outcome, String> {
    // Bringing the image is part of a move; an agent that is to die while it comes needs it to come.
    let image_on_target = plan.kill.is_some_and(|phase| phase != Phase::Image);
    let plan = Plan { image_on_target, ..plan.clone() };
    migration::run(lab, store, &plan).map_err(|error| error.to_string())
}

fn passed(outcome: &Outcome) -> Result<(), String> {
    match outcome.pages_unexplained {
        _ if !outcome.passed => Err(outcome.failures.join("; ")),
        0 => Ok(()),
        pages => Err(format!("{pages} pages of the replica differed: {}", outcome.differing_at.join("; "))),
    }
}
