//! What a host must have to record containers and to receive them, each with the remedy. Every check tries the thing itself. And
//! whether a container that runs can be moved.

mod container;
mod kernel;
mod software;
mod tasks;

pub use container::{Facts, container_checks};
pub use tasks::{Tasks, TasksError};

use super::api::Check;
use std::path::PathBuf;

/// What the checks look at.
#[derive(Clone, Debug)]
pub struct HostChecks {
    /// Docker's socket.
    pub docker: PathBuf,
    /// Where logs are kept.
    pub state_dir: PathBuf,
    /// The name that Docker knows the runtime by.
    pub runtime: String,
}

/// All checks of this host, the kernel's first. They leave nothing behind; the probes are loaded for a moment.
pub async fn host_checks(wanted: &HostChecks) -> Vec<Check> {
    // Threads of their own: some checks change what the calling thread is.
    let mut checks = tokio::task::spawn_blocking(kernel::checks).await.unwrap_or_else(|error| {
        vec![Check::fail("kernel", format!("the checks themselves failed: {error}"), "report it with this message")]
    });
    checks.push(software::runc());
    checks.extend(software::docker(&wanted.docker, &wanted.runtime).await);
    checks.push(software::disk(&wanted.state_dir));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::api::CheckState;

    #[tokio::test]
    async fn a_host_without_docker_is_told_what_to_do() {
        let wanted =
            HostChecks { docker: "/nowhere/docker.sock".into(), state_dir: "/nowhere/state".into(), runtime: "migrate".into() };
        let checks = host_checks(&wanted).await;
        let docker = checks.iter().find(|check| check.name == "docker").unwrap();
        assert_eq!(docker.state, CheckState::Fail);
        assert!(checks.iter().all(|check| check.state == CheckState::Ok || !check.remedy.is_empty()), "{checks:?}");
    }
}
