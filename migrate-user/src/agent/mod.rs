//! The daemon on every host.
