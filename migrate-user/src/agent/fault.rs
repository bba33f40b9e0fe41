//! Named fault points: an agent that is told `MIGRATE_FAULT=[SIDE:]PHASE` kills itself there, as a crash would, so that tests can look
//! at what is left. SIDE is `source` or, if it is left out, `target`; PHASE a name of [`Phase::name`].
//!
//! `MIGRATE_FAULT=page` is another: the target changes a page of the replica just before it is compared with the source.

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

fn wanted() -> Option<&'static str> {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    WANTED.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref()
}

/// Whether a page of the replica is to be changed.
#[must_use]
pub fn changes_a_page() -> bool {
    wanted() == Some("page")
}

/// Ends the process if this is where it is to end.
pub fn point(side: Side, phase: Phase) {
    let Some(wanted) = wanted() else { return };
    let side = match side {
        Side::Source => "source",
        Side::Target => "target",
    };
    if wanted.split_once(':').unwrap_or(("target", wanted)) == (side, phase.name()) {
        tracing::error!(point = wanted, "the fault point that was asked for");
        // Not an exit: nothing is flushed, closed or undone.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}
