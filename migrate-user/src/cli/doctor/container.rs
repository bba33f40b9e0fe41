//! `migrate doctor CONTAINER`.

use super::text;
use crate::agent::api::{AsyncClient, Check, CheckState, ClientError, Code, ContainerInfo, ContainerState, Request, Response};
use crate::agent::doctor::{Facts, Tasks, container_checks};
use crate::cli::text::{print, print_json};
use crate::cli::{CliError, Global};
use crate::container::docker::{Docker, check_supported};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The verdict.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    container: &'a str,
    id: &'a str,
    /// Nothing is known that stands against a move.
    migratable: bool,
    checks: &'a [Check],
}

/// Looks at a container for `watch`, prints the verdict and why.
pub(super) fn run(global: &Global, docker: &Path, container: &str, watch: Duration) -> Result<ExitCode, CliError> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tokio = tokio.map_err(|error| CliError::caused(Code::Failed, "cannot start", error))?;
    let (id, name, facts) = tokio.block_on(look(global, docker, container, watch))?;
    let checks = container_checks(&facts);
    let migratable = checks.iter().all(|check| check.state != CheckState::Fail);
    if global.json {
        print_json(&Verdict { container: &name, id: &id, migratable, checks: &checks })?;
    } else {
        let words = if migratable { "can be moved" } else { "cannot be moved" };
        print(&format!("{}{name} {words}\n", text(&checks)))?;
    }
    Ok(if migratable { ExitCode::SUCCESS } else { ExitCode::from(Code::Refused.exit_code()) })
}

/// The container's id, its name, and what is known of it.
async fn look(global: &Global, docker: &Path, container: &str, watch: Duration) -> Result<(String, String, Facts), CliError> {
    let failed = |what: &'static str| move |error| CliError::caused(Code::Failed, what, error);
    let docker = Docker::connect(docker).await.map_err(failed("cannot ask Docker"))?;
    let found = docker.inspect(container).await.map_err(failed("cannot look at the container"))?;
    let (id, name) = (found.spec.id.clone(), found.spec.name.trim_start_matches('/').to_owned());
    if !found.running {
        return Err(CliError::other(Code::Failed, format!("{name} does not run: there is nothing to look at")));
    }
    let mut agent = AsyncClient::connect(&global.socket).await?;
    let (started, first) = (Instant::now(), known(&mut agent, &id).await?);
    let recording = first.as_ref().is_some_and(|known| known.state == ContainerState::Recording);
    let (mut last, mut records_per_s) = (first.clone(), None);
    if let (Some(first), true) = (first, recording) {
        tokio::time::sleep(watch).await;
        last = known(&mut agent, &id).await?;
        records_per_s = last.as_ref().map(|last| {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let records = last.records.saturating_sub(first.records) as f64;
            records / started.elapsed().as_secs_f64()
        });
    }
    let tasks = (found.pid > 0).then(|| Tasks::look(found.pid)).transpose();
    let tasks = tasks.map_err(|error| CliError::caused(Code::Failed, "cannot look at the container's tasks", error))?;
    Ok((id, name, Facts { known: last, unsupported: check_supported(&found.spec), tasks, records_per_s }))
}

/// The container as the agent has it.
async fn known(agent: &mut AsyncClient, id: &str) -> Result<Option<ContainerInfo>, CliError> {
    match agent.ask(&Request::Ps {}, |_| ()).await? {
        Response::Containers { containers } => Ok(containers.into_iter().find(|known| known.id == id)),
        other => Err(ClientError::unexpected(&other).into()),
    }
}
