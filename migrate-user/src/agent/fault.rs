//! Named fault points: an agent that is told `MIGRATE_FAULT=[SIDE:]PHASE` kills itself there, as a crash would, so that tests can look
//! at what is left. SIDE is `source` or, if it is left out, `target`; PHASE a name of [`Phase::name`].

use crate::wire::Phase;
use std::sync::OnceLock;

/// The environment variable.
pub const VARIABLE: &str = "MIGRATE_FAULT";

/// Which half of a move reaches the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

/// Ends the process if this is where it is to end.
pub fn point(side: Side, phase: Phase) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    let Some(wanted) = WANTED.get_or_init(|| std::env::var(VARIABLE).ok()) else { return };
    let side = match side {
        Side::Source => "source",
        Side::Target => "target",
    };
    if wanted.split_once(':').unwrap_or(("target", wanted)) == (side, phase.name()) {
        tracing::error!(point = wanted.as_str(), "the fault point that was asked for");
        // Not an exit: nothing is flushed, closed or undone.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}
