//! The daemon on every host.

pub mod api;
