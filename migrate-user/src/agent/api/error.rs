//! Errors as they cross the socket, and the exit codes that they become.

use serde::{Deserialize, Serialize};

/// Kinds of failure. The numbers are `migrate`'s exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Code {
    /// It did not work, and nothing has changed.
    Failed = 1,
    /// The request makes no sense.
    Usage = 2,
    /// The container cannot be moved, or the other host cannot take it.
    Refused = 3,
    /// The replica asked for something that the log does not say next.
    Diverged = 4,
    /// A log that is damaged, cut short, of another version, or has a hole.
    BadLog = 5,
    /// The move passed its point of no return and nobody answers: `migrate ps` on both hosts, then `migrate resolve`.
    InDoubt = 6,
    /// No agent answers.
    NoAgent = 7,
}

impl Code {
    /// `migrate`'s exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        self as u8
    }
}

/// A failure, as the agent tells it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ApiError {
    pub code: Code,
    /// What happened, with the values that help.
    pub message: String,
    /// Particulars: the reasons against a move, or a desync's neighbouring records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl ApiError {
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), remedy: None }
    }

    /// The same with particulars.
    #[must_use]
    pub fn details(mut self, details: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.details.extend(details.into_iter().map(Into::into));
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
