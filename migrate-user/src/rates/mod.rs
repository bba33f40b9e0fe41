//! `migrate rates`: what a container's log would cost, measured on a container that runs, from outside.
//!
//! [`targets`] says which cgroups are meant, [`Session`] measures them, and each [`Sample`] that it gives is an interval of a
//! container. [`predict`] sets the rates against a link.

mod blind_spots;
mod error;
mod meter;
mod order;
pub mod predict;
pub mod sample;
mod session;
mod tally;
pub mod targets;

pub use error::RatesError;
pub use sample::Sample;
pub use session::{Session, Settings};
