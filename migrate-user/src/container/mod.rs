//! Docker, the OCI runtime and cgroups.

pub mod docker;
pub mod runtime;
