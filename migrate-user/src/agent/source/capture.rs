//! What a frozen container's kernel objects hold, and what else of it crosses the wire.

use super::Sending;
use crate::agent::cutover::{self, CutOver};
use crate::agent::daemon::DEVICE;
use crate::agent::errors::{Failure, text};
use crate::agent::host;
use crate::agent::recording::Recording;
use crate::golive::stragglers::Stragglers;
use crate::golive::{self, CaptureError};
use crate::inodes::Inodes;
use crate::sys::neighbours;
use crate::verify::registers::TaskRegisters;
use crate::wire::source::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a capture is tried again that met something on its way, while the container stays frozen.
const CAPTURES: u32 = 3;
/// How long between.
const BETWEEN: Duration = Duration::from_millis(2);

/// A frozen container, captured.
enum Captured {
    All(Box<CutOver>, Vec<TaskRegisters>),
    /// It has to run on before it can be.
    NotNow(String),
}

impl Sending<'_> {
    pub(super) async fn capture(&mut self) -> Result<Output, Failure> {
        let recording = Arc::clone(self.recording.as_ref().ok_or("the container is not recorded any more")?);
        self.mark = Instant::now();
        let mut stragglers = self.stragglers.take();
        let inodes = self.inodes;
        let capturing = tokio::task::spawn_blocking(move || {
            let captured = capture(&recording, inodes, stragglers.as_mut());
            (captured, stragglers)
        });
        let (captured, stragglers) = capturing.await.map_err(text)?;
        // It goes on catching until the target has the address: see `forward_late`. Or until the source runs on: see `deliver_here`.
        self.stragglers = stragglers;
        match captured? {
            Captured::All(cutover, registers) => {
                self.proof.registers = registers;
                self.report.connections = cutover.connections();
                let bytes = postcard::to_stdvec(&cutover).map_err(text)?;
                self.caught = cutover.stragglers;
                Ok(Output::Snapshot(bytes))
            }
            Captured::NotNow(why) => {
                tracing::info!(%why, "a container could not be captured");
                self.not_now.clone_from(&why);
                Ok(Output::NotNow(why))
            }
        }
    }
}

fn capture(recording: &Recording, inodes: Inodes, stragglers: Option<&mut Stragglers>) -> Result<Captured, Failure> {
    let frozen_ns = host::monotonic_ns();
    let tasks = cutover::tasks(&recording.cgroup)?;
    let mut tries = 0;
    let mut snapshot = loop {
        match golive::capture(&tasks) {
            Ok(snapshot) => break snapshot,
            Err(CaptureError::Retry { .. }) if tries < CAPTURES => {
                tries += 1;
                std::thread::sleep(BETWEEN);
            }
            Err(error @ CaptureError::Retry { .. }) => return Ok(Captured::NotNow(error.to_string())),
            Err(error) => return Err(error.to_string()),
        }
    };
    let waits = cutover::waits(&recording.probes.recorder, &recording.cgroup)?;
    // A task that was on its way through a call of the gate's when it was frozen keeps that waiting: it has to run on.
    let stopped = match recording.stopped() {
        Ok(stopped) => stopped,
        Err(error) => {
            let why = format!("the signals that wait could not be read: {error}");
            return if error.may_answer_later() { Ok(Captured::NotNow(why)) } else { Err(why) };
        }
    };
    let registers;
    (snapshot.signals, registers) = stopped.into_iter().map(|task| (task.signals, task.registers)).unzip();
    let mut caught = Vec::new();
    if let Some(stragglers) = stragglers {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", recording.init)).map_err(text)?;
        snapshot.neighbours = neighbours::known(&namespace, DEVICE).map_err(text)?;
        // Those that are lost are sent again by their sender's timer.
        (caught, _) = stragglers.take().map_err(text)?;
    }
    Ok(Captured::All(Box::new(CutOver { frozen_ns, snapshot, waits, inodes, stragglers: caught }), registers))
}
