//! The daemon on every host.

pub mod api;
mod config;
pub mod host;
pub mod probes;
pub mod recording;
pub mod doctor;

pub use config::AgentConfig;
