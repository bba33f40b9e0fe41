//! Whole migrations in the lab: a workload starts on h1 under load, moves to h2, and everything is checked from outside.

mod counting;
mod error;
mod kill;
mod links;
mod outcome;
mod scene;
mod spoil;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    images::Store,
    lab::Lab,
    workloads::{Check, Workload},
};

pub use error::{MigrationError, Result};
pub use kill::Phase;
pub use outcome::{Outcome, Summary};
use scene::Scene;
pub use spoil::SPOILS;

/// How a workload is moved.
#[derive(Debug, Clone)]
pub struct Plan {
    pub workload: &'static Workload,
    /// The target's agent dies there.
    pub kill: Option<Phase>,
    /// A page of the replica's memory is changed before it is compared.
    pub spoil: bool,
    /// What of the memory is compared, as `migrate move --verify` takes it.
    pub verify: String,
    /// Clients ask as fast as answers come.
    pub unlimited: bool,
    /// No move: the workload, its load and its checks by themselves.
    pub stay: bool,
    /// Whether the target has the image beforehand.
    pub image_on_target: bool,
    /// Load before the move and after it, at least.
    pub around: Duration,
    /// The client's program.
    pub client: PathBuf,
}

/// How long a client or a counter may take to show life after a move; longer than the retries of TCP that a pause causes.
const LIFE_LIMIT: Duration = Duration::from_secs(60);

/// Moves a workload once. What the product did wrong is in the outcome; an error is something that kept us from finding out.
pub fn run(lab: &mut Lab, store: &Store, plan: &Plan) -> Result<Outcome> {
    let mut scene = Scene::set(lab, store, plan)?;
    let outcome = perform(&mut scene, plan);
    scene.clear()?;
    outcome
}

fn perform(scene: &mut Scene<'_>, plan: &Plan) -> Result<Outcome> {
    let mut outcome = Outcome { workload: plan.workload.name, kill: plan.kill, ..Outcome::default() };
    let mut client = scene.start_client(plan)?;
    if let Some(client) = &client {
        client.wait_ready(LIFE_LIMIT)?;
    }
    let before = scene.progress(plan, 1)?;
    // A different moment in every run.
    thread::sleep(plan.around + Duration::from_nanos(u64::from(nanoseconds()) % 1_000_000_000));

    match plan.kill {
        None if plan.stay => {}
        None if plan.spoil => scene.repair(plan, &mut outcome)?,
        None => {
            let attempt = scene.migrate_move(plan)?;
            outcome.take_move(&attempt);
        }
        Some(phase) => scene.survive(phase, plan, &mut client, &mut outcome)?,
    }

    if let Some(client) = &mut client {
        outcome.note(client.wait_served(LIFE_LIMIT).map_err(|error| error.to_string()));
    }
    thread::sleep(plan.around);
    let host = if outcome.moved { "h2" } else { "h1" };
    if plan.workload.check != Check::Clients {
        outcome.note(scene.check_progress(plan, host, before).map_err(|error| error.to_string()));
    }
    if let Some(client) = client {
        outcome.take_report(plan.workload, client.stop()?);
    }
    let live = scene.live_copies()?;
    outcome.live_on = live.clone();
    outcome.source_alive = live.iter().any(|name| name == "h1");
    if matches!(plan.workload.check, Check::Chain | Check::Links) {
        outcome.note(scene.check_end(host));
    }
    outcome.judge(plan);
    if !outcome.passed {
        outcome.failures.extend(["h1", "h2"].into_iter().filter_map(|host| scene.complaint(host)));
    }
    Ok(outcome)
}

/// Something that differs from run to run.
fn nanoseconds() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos())
}

/// Asks again and again until there is an answer; `None` when there is none in time.
fn eventually<T>(limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if Instant::now() > end {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
