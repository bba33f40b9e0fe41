//! How a source is brought to a stand: no new connections, then no tasks, then no packets; then the log's end.

use super::daemon::DEVICE;
use super::errors::{Failure, text};
use super::recording::Recording;
use crate::golive::stragglers::Stragglers;
use crate::probe::mute::{Mute, MuteMode};
use crate::sys::sock_diag::{self, Diag};
use std::fs::File;
use std::time::{Duration, Instant};

/// How long connections may take to leave the listening sockets' queues once no new ones come in.
const QUEUE_BOUND: Duration = Duration::from_millis(200);
/// How long the kernel may take to send what closed connections still have to send.
const ORPHAN_BOUND: Duration = Duration::from_millis(50);
/// How often the tasks are frozen at most, and how long they run between.
const FREEZES: u32 = 20;
const LET_RUN: Duration = Duration::from_millis(1);

/// The mute, silent now; what catches late packets; and how long it took.
pub(super) type Frozen = (Option<Mute>, Option<Stragglers>, FreezeTimes);

/// The parts of a freeze.
pub(super) struct FreezeTimes {
    pub(super) frozen_at: Instant,
    pub(super) freeze: Duration,
    pub(super) flush: Duration,
    /// Connections that nobody has accepted.
    pub(super) queued: u32,
}

/// Freezes the tasks between two connections inside of the container: one that nobody has accepted cannot be taken along. And while none
/// is on its way through a call that the gate waits for: it could not be asked what they have. When they were frozen.
fn freeze_tasks(recording: &Recording, namespace: &File) -> Result<Instant, Failure> {
    let (freezer, diag) = (recording.cgroup.freezer(), Diag::open_in(namespace).map_err(text)?);
    let mut left = FREEZES;
    loop {
        let frozen_at = Instant::now();
        freezer.freeze().map_err(text)?;
        left -= 1;
        // What the last one meets, the capture tells.
        if left == 0 || !diag.unix().map_err(text)?.iter().any(|socket| socket.listening && socket.receive_queue > 0) {
            // A signal that was on its way to a task when it was frozen is delivered there all the same: before the log ends.
            match recording.stopped() {
                Ok(_) => return Ok(frozen_at),
                Err(why) if left > 0 && why.may_answer_later() => tracing::debug!(%why, "a container is frozen again"),
                Err(why) => return Err(format!("the tasks could not be stopped: {why}")),
            }
        }
        freezer.thaw().map_err(text)?;
        std::thread::sleep(LET_RUN);
    }
}

/// Freezes a container. On an error it may be half frozen: thaw it.
pub(super) fn freeze(recording: &Recording, mut mute: Option<Mute>) -> Result<Frozen, Failure> {
    let namespace = File::open(format!("/proc/{}/ns/net", recording.init)).map_err(text)?;
    let mut queued = 0;
    let mut stragglers = None;
    if let Some(mute) = &mut mute {
        stragglers = Some(Stragglers::catch_openings(&namespace, DEVICE).map_err(text)?);
        mute.set(MuteMode::NoNewConnections).map_err(text)?;
        queued = sock_diag::wait_accept_queues_empty(&namespace, QUEUE_BOUND).map_err(text)?;
    }
    // From here on nobody else freezes or thaws it.
    recording.probes.unwatch(recording.slot);
    let frozen_at = freeze_tasks(recording, &namespace)?;
    if let Some(mute) = &mut mute {
        sock_diag::wait_orphans_drained(&namespace, ORPHAN_BOUND).map_err(text)?;
        if let Some(stragglers) = &mut stragglers {
            stragglers.catch_everything().map_err(text)?;
        }
        mute.set(MuteMode::Silent).map_err(text)?;
    }
    let freeze = frozen_at.elapsed();
    let begun = Instant::now();
    recording.flush(true).map_err(text)?;
    Ok((mute, stragglers, FreezeTimes { frozen_at, freeze, flush: begun.elapsed(), queued }))
}
