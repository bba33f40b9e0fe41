//! `migrate doctor`.

mod container;

use super::text::{print, print_json};
use super::{CliError, Global, client};
use crate::agent::api::{AsyncClient, Check, CheckState, Code, Request, Response};
use crate::agent::doctor::{HostChecks, host_checks};
use clap::Args;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  migrate doctor                          # can this host record?
  migrate doctor --to 10.0.0.2:7077       # could that host take its containers?
  migrate doctor web                      # can this container be moved, and why not?
  migrate doctor --json | jq -r '.[] | select(.state != \"ok\") | .remedy'

Exit code 0: nothing failed; 1: this host cannot record; 3: the other host cannot take
containers, or the container cannot be moved; 7: no agent answers.";

/// Check what recording and moving need, and say what to do about what is missing.
///
/// With a container: whether it can be moved, by what the agent knows of it, its configuration, its tasks and what they have open, and
/// how fast its log grows. `migrate move --dry-run` asks the other host too.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    /// Name, id, or an id's unique start. Needs the agent here to run.
    #[arg(conflicts_with = "to")]
    container: Option<String>,
    /// How long to watch the container's log grow.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, requires = "container")]
    watch: f64,
    /// Compare with the host of this agent. Needs the agent here to run.
    #[arg(long, value_name = "HOST:PORT")]
    to: Option<String>,
    /// Docker's unix socket, as a path or unix://PATH.
    #[arg(long, env = "MIGRATE_DOCKER", default_value = crate::container::docker::DEFAULT_SOCKET, value_name = "PATH")]
    docker: String,
    /// Where the agent keeps its logs.
    #[arg(long, env = "MIGRATE_STATE_DIR", default_value = "/var/lib/migrate", value_name = "PATH")]
    state_dir: std::path::PathBuf,
    /// The name that Docker knows the runtime by.
    #[arg(long, default_value = "migrate", value_name = "NAME")]
    runtime: String,
}

impl Doctor {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        if let Some(container) = &self.container {
            let watch = Duration::try_from_secs_f64(self.watch);
            let watch = watch.map_err(|error| CliError::caused(Code::Usage, "--watch is no time", error))?;
            return container::run(global, Path::new(self.docker_socket()), container, watch);
        }
        let failed = if self.to.is_some() { Code::Refused } else { Code::Failed };
        let checks = match self.to {
            Some(to) => match client::ask(global, &Request::Doctor { to: Some(to) })? {
                Response::Checks { checks } => checks,
                other => return Err(client::unexpected(&other)),
            },
            None => self.local(global)?,
        };
        if global.json {
            print_json(&checks)?;
        } else {
            print(&text(&checks))?;
        }
        let worst = checks.iter().map(|check| check.state).max();
        Ok(if worst == Some(CheckState::Fail) { ExitCode::from(failed.exit_code()) } else { ExitCode::SUCCESS })
    }

    fn docker_socket(&self) -> &str {
        self.docker.strip_prefix("unix://").unwrap_or(&self.docker)
    }

    fn local(&self, global: &Global) -> Result<Vec<Check>, CliError> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let tokio = tokio.map_err(|error| CliError::caused(Code::Failed, "cannot start", error))?;
        let wanted =
            HostChecks { docker: self.docker_socket().into(), state_dir: self.state_dir.clone(), runtime: self.runtime.clone() };
        Ok(tokio.block_on(async {
            let mut checks = host_checks(&wanted).await;
            checks.push(agent(global).await);
            checks
        }))
    }
}

async fn agent(global: &Global) -> Check {
    let asked = async { AsyncClient::connect(&global.socket).await?.ask(&Request::Status {}, |_| ()).await };
    match asked.await {
        Ok(Response::Status(status)) if status.version == env!("CARGO_PKG_VERSION") => {
            Check::ok("agent", format!("version {} listens on {}", status.version, status.listen))
        }
        Ok(Response::Status(status)) => Check::warn(
            "agent",
            format!("version {}, this program is {}", status.version, env!("CARGO_PKG_VERSION")),
            "start the agent again from this version; containers that run now are no longer recorded then",
        ),
        Ok(other) => Check::fail("agent", format!("answers strangely: {other:?}"), "start the agent of this version"),
        Err(error) => Check::fail("agent", error.to_string(), "run `migrate agent` as root, or give its --socket"),
    }
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let state = match check.state {
            CheckState::Ok => "ok  ",
            CheckState::Warn => "warn",
            CheckState::Fail => "FAIL",
        };
        out.push_str(&format!("{state}  {:width$}  {}\n", check.name, check.found));
        if !check.remedy.is_empty() {
            out.push_str(&format!("      {:width$}  help: {}\n", "", check.remedy));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_is_followed_by_its_remedy() {
        let text = text(&[Check::ok("kernel", "6.18"), Check::fail("docker", "not there", "start it")]);
        assert_eq!(text, "ok    kernel  6.18\nFAIL  docker  not there\n              help: start it\n");
    }
}
