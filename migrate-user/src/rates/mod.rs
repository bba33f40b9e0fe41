//! `migrate rates`: what a container's log would cost, measured on a container that runs, from outside.

mod error;
pub mod predict;
pub mod sample;
pub mod targets;

pub use error::RatesError;
pub use sample::Sample;
