//! Docker, the OCI runtime and cgroups.

pub mod runtime;
