//! What `migrate doctor` finds.

use serde::{Deserialize, Serialize};

/// How a check of `migrate doctor` went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    Ok,
    /// It works, with a limit.
    Warn,
    /// It will not work.
    Fail,
}

/// One check of `migrate doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A few words, stable.
    pub name: String,
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What to do; empty when nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    #[must_use]
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Ok, found: found.into(), remedy: String::new() }
    }

    #[must_use]
    pub fn warn(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Warn, found: found.into(), remedy: remedy.into() }
    }

    #[must_use]
    pub fn fail(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: CheckState::Fail, found: found.into(), remedy: remedy.into() }
    }
}
