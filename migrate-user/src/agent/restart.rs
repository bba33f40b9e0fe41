//! Whether a container may be started again: Docker does so by itself, for a restart policy or after its own restart, and a copy
//! that is not the live one must never run.

use super::api::{ApiError, Code};
use crate::wire::durable::{Durable, Side, SourceState, TargetState};

/// Why the container `id` must not be started on this host; none where it may.
#[must_use]
pub fn objection(durables: &[Durable], id: &str) -> Option<ApiError> {
    durables.iter().filter(|durable| durable.container == id).find_map(|Durable { side, peer, .. }| match side {
        Side::Source(SourceState::Committed) => Some(
            ApiError::new(Code::InDoubt, format!("its move to {peer} is in doubt: it may be live there"))
                .remedy("`migrate ps` on both hosts, then `migrate resolve`"),
        ),
        Side::Source(SourceState::Moved) => {
            let remedy = "remove this copy with `docker rm`";
            Some(ApiError::new(Code::Refused, format!("it was moved and lives at {peer}")).remedy(remedy))
        }
        // A replica gets its role by being expected; nobody expects this one any more.
        Side::Target(TargetState::Receiving | TargetState::Go | TargetState::Aborted) => {
            let remedy = "remove it with `docker rm`";
            Some(ApiError::new(Code::Refused, format!("it is a replica of the container that lives at {peer}")).remedy(remedy))
        }
        Side::Source(SourceState::Moving | SourceState::Aborted) | Side::Target(TargetState::Live) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(side: Side) -> Vec<Durable> {
        let id = "0123456789abcdef0123456789abcdef".parse().unwrap();
        vec![Durable::new(id, side, "h2:7077", "4f1c", "web")]
    }

    #[test]
    fn only_the_copy_that_lives_here_may_start() {
        for side in [Side::Source(SourceState::Moving), Side::Source(SourceState::Aborted), Side::Target(TargetState::Live)] {
            assert_eq!(objection(&with(side), "4f1c"), None, "{side:?}");
        }
        for side in [
            Side::Source(SourceState::Committed),
            Side::Source(SourceState::Moved),
            Side::Target(TargetState::Receiving),
            Side::Target(TargetState::Go),
            Side::Target(TargetState::Aborted),
        ] {
            let error = objection(&with(side), "4f1c").unwrap();
            assert!(error.message.contains("h2:7077"), "{side:?}: {error}");
            assert_eq!(objection(&with(side), "another"), None);
        }
    }
}
