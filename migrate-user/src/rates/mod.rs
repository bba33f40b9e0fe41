//! `migrate rates`: what a container's log would cost, measured on a container that runs, from outside.
//!
//! [`targets`] says which cgroups are meant, [`Session`] measures them, and each [`Sample`] that it gives is an interval of a
//! container. [`predict`] sets the rates against a link. [`screen`], [`csv`] and [`svg`] are what people see of the samples.

mod before;
mod blind_spots;
pub mod csv;
mod dirty;
mod error;
#[cfg(test)]
mod example;
pub mod human;
mod meter;
mod order;
mod output;
pub mod predict;
pub mod sample;
pub mod screen;
mod session;
pub mod svg;
mod tally;
pub mod targets;

pub use error::RatesError;
pub use output::OutputError;
pub use sample::Sample;
pub use session::{Session, Settings};
