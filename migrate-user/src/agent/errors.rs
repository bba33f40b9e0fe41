//! How errors and times become what state machines, clients and reports take.

use super::api::{ApiError, Code};
use std::time::Duration;

/// What a state machine is told of a step that failed: it only passes it on.
pub(super) type Failure = String;

pub(super) fn text(error: impl std::fmt::Display) -> Failure {
    error.to_string()
}

pub(super) fn failed(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::Failed, error.to_string())
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
