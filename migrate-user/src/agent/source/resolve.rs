//! Moves that another agent's loop began: cut short by a restart, in doubt, or decided by an operator.

use super::Sending;
use crate::agent::api::{ApiError, Code, Keep};
use crate::agent::daemon::{Daemon, Entry};
use crate::agent::errors::failed;
use crate::wire::Source;
use crate::wire::durable::{Durable, Side, SourceState};
use crate::wire::message::Verdict;
use std::sync::Arc;
use tokio::sync::mpsc;

/// An operator says which copy lives on.
pub(in crate::agent) async fn resolve(daemon: &Arc<Daemon>, container: &str, keep: Keep) -> Result<(), ApiError> {
    let (durables, _) = daemon.store.load().map_err(failed)?;
    let durable = durables.into_iter().find(|durable| {
        durable.side == Side::Source(SourceState::Committed)
            && (durable.container.starts_with(container) || durable.name == container)
    });
    let Some(durable) = durable else {
        return Err(ApiError::new(Code::Usage, format!("no move of {container} from this host is in doubt")));
    };
    let id = durable.migration().map_err(failed)?;
    let mut source = Source::restart(id, SourceState::Committed);
    source.operator(match keep {
        Keep::Here => Verdict::Aborted,
        Keep::There => Verdict::Live,
    });
    let mut sending = Sending::after_restart(daemon, durable);
    while source.outcome().is_none() {
        let Some(action) = source.poll_action() else { break };
        match sending.carry_out(action).await {
            Ok(output) => source.done(output),
            Err(why) => source.failed(&why),
        }
    }
    Ok(())
}

impl<'a> Sending<'a> {
    fn after_restart(daemon: &'a Arc<Daemon>, durable: Durable) -> Self {
        let recording = match daemon.entry(&durable.container) {
            Some(Entry::Recorded(recording)) => Some(recording),
            _ => None,
        };
        Self { recording, ..Self::of(daemon, durable) }
    }
}

/// Carries on, or undoes, what an agent left that ended in the midst of a move.
pub(in crate::agent) async fn recover(daemon: Arc<Daemon>) {
    let (durables, _) = daemon.store.load().unwrap_or_default();
    for durable in durables {
        if matches!(durable.side, Side::Source(SourceState::Moving | SourceState::Committed)) {
            tokio::spawn(ask_on(Arc::clone(&daemon), durable));
        }
    }
}

/// Brings a move to its end from what is on disk.
pub(super) async fn ask_on(daemon: Arc<Daemon>, durable: Durable) {
    let (Side::Source(state), Ok(id)) = (durable.side, durable.migration()) else { return };
    let (progress, _events) = mpsc::channel(1);
    let sending = Sending { patient: true, ..Sending::after_restart(&daemon, durable) };
    match sending.drive(Source::restart(id, state), &progress).await {
        Ok((outcome, _)) => tracing::info!(?outcome, "a move that was cut short has ended"),
        Err(error) => tracing::error!(%error, "a move that was cut short could not be ended"),
    }
}
