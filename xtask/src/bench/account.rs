//! What one recorded run made of log, and what it cost the agent.

use std::{thread, time::Instant};

use anyhow::Result;
use serde::Serialize;

use super::{
    containers::{Container, Log, SETTLE, Stage},
    cpu,
    load::{self, Done},
    workloads::{Load, Workload},
};

/// Bytes of log, in its forms.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bytes {
    /// As the recorder puts them into the ring.
    pub raw: f64,
    /// Before compression; not known to every agent.
    pub encoded: Option<f64>,
    /// As stored and shipped.
    pub zstd: f64,
}

/// A recorded run, accounted for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Account {
    pub records_per_unit: f64,
    pub records_per_s: f64,
    pub bytes_per_unit: Bytes,
    /// Megabytes (10^6) per second.
    pub mb_per_s: Bytes,
    /// CPU seconds of the agent per second.
    pub agent_cpu_share: f64,
    /// Records that the agent knows to be lost.
    pub lost: u64,
}

/// Runs the load on a recorded container that is warm, with the log's totals taken before and after.
pub fn take(stage: &Stage, workload: &Workload, seconds: u32, warm: Option<Done>) -> Result<Account> {
    // A batch is under way already; what its start logs is little.
    let before = if matches!(workload.load, Load::Batch { .. }) { Log::default() } else { settled(stage)? };
    let agent = stage.agent()?;
    let (began, cpu_before) = (Instant::now(), cpu::of_process(agent)?);
    let done = load::measure(stage, workload, seconds, warm)?;
    let (took, cpu_after) = (began.elapsed(), cpu::of_process(agent)?);
    let after = settled(stage)?;
    let records = (after.records - before.records) as f64;
    let bytes = |scale: f64| Bytes {
        raw: (after.raw_bytes - before.raw_bytes) as f64 / scale,
        encoded: after.encoded_bytes.map(|bytes| (bytes - before.encoded_bytes.unwrap_or(0)) as f64 / scale),
        zstd: (after.stored_bytes - before.stored_bytes) as f64 / scale,
    };
    Ok(Account {
        records_per_unit: records / done.count,
        records_per_s: records / done.seconds,
        bytes_per_unit: bytes(done.count),
        mb_per_s: bytes(done.seconds * 1e6),
        agent_cpu_share: (cpu_after - cpu_before).as_secs_f64() / took.as_secs_f64(),
        lost: stage.lost()?,
    })
}

/// The log's totals once they hold everything that has happened.
fn settled(stage: &Stage) -> Result<Log> {
    thread::sleep(SETTLE);
    stage.log()
}

/// Whether a recorded run was recorded: a container that is loaded makes records all the time.
pub fn check(stage: &Stage, container: &Container, before: u64) -> Result<u64> {
    let log = stage.log()?;
    anyhow::ensure!(log.records > before, "process {} was not recorded: {} records, as before", container.pid, log.records);
    Ok(log.records)
}
