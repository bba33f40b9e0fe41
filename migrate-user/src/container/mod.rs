//! Docker, the OCI runtime and cgroups.
