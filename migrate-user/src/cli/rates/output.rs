//! Where samples go.

use super::plain;
use crate::cli::CliError;
use crate::cli::text::{print, print_json};
use crate::rates::Sample;

/// Takes every interval's samples.
#[derive(Debug)]
pub(super) enum Output {
    /// A line of JSON a sample.
    Json,
    /// A table a sample.
    Plain,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Plain }
    }

    pub(super) fn samples(&mut self, samples: &[Sample]) -> Result<(), CliError> {
        match self {
            Self::Json => samples.iter().try_for_each(print_json),
            Self::Plain => samples.iter().try_for_each(|sample| print(&(plain::text(sample) + "\n"))),
        }
    }
}
