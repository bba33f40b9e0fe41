//! Docker, the OCI runtime and cgroups.

pub mod docker;
pub mod layer;
pub mod runtime;
