//! The stage of one migration: the container on h1, the client, and what can be seen of both hosts.

use std::{fs, process::ExitStatus, time::Duration};

use serde_json::Value;

use super::{LIFE_LIMIT, Plan, Result, counting, error::MigrationError, eventually, links, outcome::Attempt};
use crate::{
    client::{self, Remote},
    images::Store,
    lab::{self, Host, Lab},
    workloads::Check,
};

/// The container's name on both hosts.
const NAME: &str = "demo";
/// The container's address, outside the ranges from which Docker takes addresses by itself.
const ADDRESS: &str = "10.77.0.50";
/// No move takes that long.
const MOVE_LIMIT: Duration = Duration::from_secs(180);

/// What a workload had said at some time.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub output: String,
    pub number: u64,
}

#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) lab: &'a mut Lab,
}

impl<'a> Scene<'a> {
    /// Starts the workload's container on h1, with nothing of an earlier one left.
    pub(super) fn set(lab: &'a mut Lab, store: &Store, plan: &Plan) -> Result<Self> {
        let scene = Self { lab };
        scene.clear()?;
        for name in ["h1", "h2"] {
            scene.lab.with_host(name, |host| if host.agent_alive() { Ok(()) } else { host.start_agent(&[]) })?;
        }
        let (source, target) = (scene.lab.host("h1")?, scene.lab.host("h2")?);
        store.load(&source, plan.workload.image)?;
        if plan.image_on_target {
            store.load(&target, plan.workload.image)?;
        } else {
            store.unload(&target, plan.workload.image)?;
        }
        let network = format!("--network={}", lab::NETWORK);
        let run = ["run", "--detach", "--runtime=migrate", &network, "--ip", ADDRESS, "--name", NAME, plan.workload.image.tag()];
        source.docker_output(run.into_iter().chain(plan.workload.command.iter().copied()))?;
        Ok(scene)
    }

    /// Removes the container from both hosts.
    pub(super) fn clear(&self) -> Result<()> {
        for host in self.lab.hosts()? {
            if !host.docker_output(["ps", "--all", "--quiet", "--filter", &format!("name=^{NAME}$")])?.is_empty() {
                host.docker_output(["rm", "--force", "--volumes", NAME])?;
            }
        }
        Ok(())
    }

    pub(super) fn start_client(&self, plan: &Plan) -> Result<Option<Remote>> {
        // The container of the run before had the same address on the other host: the client would look for it there.
        lab::run_to_end(self.lab.client("ip")?.args(["neigh", "flush", "all"]), MOVE_LIMIT)?;
        let mut command = self.lab.client(&plan.client)?;
        match client::arguments(&mut command, &plan.workload.load, ADDRESS, plan.unlimited) {
            None => Ok(None),
            Some(()) => Ok(Some(Remote::start(&mut command)?)),
        }
    }

    /// `migrate move` on h1, to its end.
    pub(super) fn migrate_move(&self, plan: &Plan) -> Result<Attempt> {
        let (source, target) = (self.lab.host("h1")?, self.lab.host("h2")?);
        let mut command = source.migrate()?;
        let ended = lab::run_to_end(
            command.args(["move", NAME, "--to", &target.agent_address(), "--verify", &plan.verify, "--json"]),
            MOVE_LIMIT,
        )?;
        let Some(status) = ended.status else {
            let line = lab::command_line(&command);
            return Err(MigrationError::Endless { line, seconds: MOVE_LIMIT.as_secs() });
        };
        let output = String::from_utf8_lossy(&ended.stdout);
        let report = output.lines().last().and_then(|last| serde_json::from_str(last).ok()).unwrap_or(Value::Null);
        Ok(Attempt { success: status.success(), report, says: String::from_utf8_lossy(&ended.stderr).trim().to_string() })
    }

    /// What the workload has said on h1, once it has counted to `least`.
    pub(super) fn progress(&self, plan: &Plan, least: u64) -> Result<Said> {
        if plan.workload.check == Check::Clients {
            return Ok(Said::default());
        }
        let host = self.lab.host("h1")?;
        let found = eventually(LIFE_LIMIT, || {
            let said = said(&host, plan.workload.check)?;
            Ok((said.number >= least).then_some(said))
        })?;
        let lifeless = || -> Result<MigrationError> {
            let says = output(&host)?.lines().last().unwrap_or_default().to_string();
            Ok(MigrationError::Lifeless { workload: plan.workload.name, seconds: LIFE_LIMIT.as_secs(), says })
        };
        match found {
            Some(said) => Ok(said),
            None => Err(lifeless()?),
        }
    }

    /// The workload goes on where it was: nothing missing, nothing twice, nothing changed, and more than before.
    pub(super) fn check_progress(&self, plan: &Plan, host: &str, before: Said) -> Result<()> {
        let host = self.lab.host(host)?;
        let now = said(&host, plan.workload.check)?;
        counting::continues("output", &before.output, &now.output)?;
        // What came in between was said before the copy went live or after it; both are in the output, now it must grow.
        let later = eventually(LIFE_LIMIT, || {
            let later = said(&host, plan.workload.check)?;
            Ok((later.number >= now.number + 2).then_some(later))
        })?;
        if later.is_none() {
            return Err(counting::CountError::Still { what: "output", before: now.number, now: now.number }.into());
        }
        if plan.workload.check == Check::Count {
            let output = said(&host, plan.workload.check)?.number;
            let file = counting::count("/data/count", &container_file(&host, "data/count")?)?;
            // The file is written first and read last; a count comes every second.
            if file < output || file > output + 3 {
                return Err(counting::CountError::Apart { file, output }.into());
            }
        }
        Ok(())
    }

    /// The last line that the workload wrote to its standard error on a host.
    pub(super) fn complaint(&self, host: &str) -> Option<String> {
        let mut docker = self.lab.host(host).ok()?.docker();
        let logs = lab::run_to_end(docker.args(["logs", "--tail=20", NAME]), Duration::from_secs(10)).ok()?;
        // Without a container Docker itself complains.
        logs.status.filter(ExitStatus::success)?;
        let text = String::from_utf8_lossy(&logs.stderr).trim().lines().last()?.to_string();
        Some(format!("the workload complains on {host}: {text}"))
    }

    /// A workload that prints a chain ends when it is told to, and by its own word nothing was wrong.
    pub(super) fn check_end(&self, host: &str) -> Result<(), String> {
        let end = || -> Result<(String, String)> {
            let host = self.lab.host(host)?;
            host.docker_output(["stop", "--time=20", NAME])?;
            let code = host.docker_output(["inspect", "--format", "{{.State.ExitCode}}", NAME])?;
            Ok((code, output(&host)?.lines().last().unwrap_or_default().to_string()))
        };
        match end() {
            Ok((code, last)) if code == "0" && last.split(' ').take(2).any(|word| word == "end") => Ok(()),
            Ok((code, last)) => Err(format!("told to end, it ended with {code} and said {last:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The hosts on which a copy of the container computes: it runs, is not frozen, and is not a replica that follows a log.
    pub(super) fn live_copies(&self) -> Result<Vec<String>> {
        let mut live = Vec::new();
        for host in self.lab.hosts()? {
            let Some(id) = running(&host)? else { continue };
            let follows = self.ps(&host)?["state"] == "replaying";
            if !follows && !self.lab.frozen(&host, &id) {
                live.push(host.state.name.clone());
            }
        }
        Ok(live)
    }

    /// The container's entry in a host's `migrate ps --json`; null when it has none or the agent does not answer.
    ///
    /// An agent remembers containers that went: the one that Docker runs there is meant, or else the last of the name.
    pub(super) fn ps(&self, host: &Host) -> Result<Value> {
        let mut command = host.migrate()?;
        let Ok(text) = lab::run_output(command.args(["ps", "--json"])) else { return Ok(Value::Null) };
        let entries: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let id = running(host)?;
        let this = entries.iter().find(|entry| id.as_deref().is_some_and(|id| entry["id"] == id));
        let named =
            || entries.iter().rfind(|entry| entry["name"].as_str().is_some_and(|name| name.trim_start_matches('/') == NAME));
        Ok(this.or_else(named).cloned().unwrap_or(Value::Null))
    }
}

/// The id of the container on a host if it runs there.
fn running(host: &Host) -> Result<Option<String>> {
    let list = host.docker_output(["ps", "--quiet", "--no-trunc", "--filter", &format!("name=^{NAME}$")])?;
    Ok(list.lines().next().map(str::to_string))
}

/// Standard output of the container, from its start.
fn output(host: &Host) -> Result<String> {
    Ok(lab::run_output(host.docker().args(["logs", NAME]))?)
}

fn said(host: &Host, check: Check) -> Result<Said> {
    let mut output = output(host)?;
    // A line that is being written counts when it is complete.
    output.truncate(output.rfind('\n').map_or(0, |end| end + 1));
    let number = match check {
        Check::Clients => 0,
        Check::Count => counting::count("output", &output)?,
        Check::Chain => counting::chain("output", &output)?,
        Check::Links => links::links("output", &output)?,
    };
    Ok(Said { output, number })
}

/// Reads a file of the running container without going through Docker, which would act on the container.
fn container_file(host: &Host, path: &str) -> Result<String> {
    let name = host.state.name.clone();
    let id = running(host)?.ok_or_else(|| MigrationError::NoContainer { host: name.clone() })?;
    let pid = host.docker_output(["inspect", "--format", "{{.State.Pid}}", &id])?;
    let file = |source| MigrationError::ContainerFile { host: name, path: path.to_string(), source };
    fs::read_to_string(format!("/proc/{pid}/root/{path}")).map_err(file)
}
