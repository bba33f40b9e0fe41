//! `create`, step by step.

use super::bundle::Config;
use super::cmdline::CommandLine;
use super::reasons::reasons;
use super::{RuntimeError, Settings, code_of, runc, spawn};
use crate::agent::api::{BlockingClient, ClientError, Request, Response, Role};
use crate::sys::personality::{ClockOffsets, unshare_time, without_aslr};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

/// How long the agent may take to attach to a container. It loads its probes then, if they are not loaded yet.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates the container and returns when the agent is attached to it.
pub(super) fn create(settings: &Settings, line: &CommandLine) -> Result<ExitCode, RuntimeError> {
    let id = line.need_id()?;
    let bundle = absolute(line.bundle.as_deref().unwrap_or(Path::new(".")))?;
    let no_agent = |source| RuntimeError::Agent { command: "create", source };
    let mut agent = BlockingClient::connect(&settings.agent_socket, READY_TIMEOUT).map_err(no_agent)?;
    let role = match agent.ask(&Request::Prepare { id: id.clone(), bundle: bundle.clone() }).map_err(no_agent)? {
        Response::Role(role) => role,
        other => return Err(no_agent(ClientError::unexpected(&other))),
    };

    let reasons = edit(&bundle, role, settings)?;
    let (args, pid_file) = with_pid_file(line, &bundle);
    let _ = std::fs::remove_file(&pid_file);
    if let Role::Replica { monotonic_offset_ns, boottime_offset_ns } = role {
        let offsets = ClockOffsets { monotonic_ns: monotonic_offset_ns, boottime_ns: boottime_offset_ns };
        unshare_time(offsets).map_err(RuntimeError::Clocks)?;
    }
    let status = spawn(settings, without_aslr(&mut runc(settings, &args)))?;
    if !status.success() {
        return Ok(code_of(status));
    }

    let attach = || {
        let pid = read_pid(&pid_file)?;
        if matches!(role, Role::Replica { .. }) {
            mend_start_time(line.root.as_deref(), &id, pid)?;
        }
        agent.tell(&Request::Created { id: id.clone(), pid, reasons }).map_err(no_agent)
    };
    match attach() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            delete(settings, line, &id);
            Err(error)
        }
    }
}

/// Edits `config.json`; what speaks against moving the container.
fn edit(bundle: &Path, role: Role, settings: &Settings) -> Result<Vec<String>, RuntimeError> {
    let mut config = Config::read(bundle)?;
    let reasons = reasons(config.value());
    config.hide_calls();
    if matches!(role, Role::Replica { .. }) {
        if !reasons.is_empty() {
            return Err(RuntimeError::Replica(reasons));
        }
        let program = std::env::current_exe().map_err(|source| RuntimeError::File {
            action: "find",
            path: "/proc/self/exe".into(),
            source,
        })?;
        config.add_hooks(&program, &absolute(&settings.agent_socket)?);
    }
    config.write()?;
    Ok(reasons)
}

/// runc's arguments with a pid file, and where it is.
fn with_pid_file(line: &CommandLine, bundle: &Path) -> (Vec<OsString>, PathBuf) {
    let mut args = line.args.clone();
    let file = line.pid_file.clone().unwrap_or_else(|| {
        let file = bundle.join("migrate.pid");
        args.splice(line.globals + 1..line.globals + 1, ["--pid-file".into(), file.clone().into_os_string()]);
        file
    });
    (args, file)
}

fn read_pid(file: &Path) -> Result<i32, RuntimeError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| RuntimeError::File { action: "read", path: file.to_owned(), source })?;
    text.trim().parse().map_err(|_| RuntimeError::Format { path: file.to_owned(), why: format!("{text:?} is no pid") })
}

/// runc tells a container's first process from a later one with the same pid by its start time, which `/proc` shifts by the
/// offsets of the reader's time namespace. `runc create` ran inside the replica's; the commands that follow do not, and would
/// take the container for stopped.
fn mend_start_time(root: Option<&Path>, id: &str, pid: i32) -> Result<(), RuntimeError> {
    const FIELD: &str = "init_process_start";
    let path = root.unwrap_or(Path::new("/run/runc")).join(id).join("state.json");
    let failed = |action| {
        let path = path.clone();
        move |source| RuntimeError::File { action, path, source }
    };
    let wrong = |why: String| RuntimeError::Format { path: path.clone(), why };
    let text = std::fs::read(&path).map_err(failed("read"))?;
    let mut state: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if !state[FIELD].is_u64() {
        return Err(wrong(format!("it has no {FIELD}")));
    }
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    let line =
        std::fs::read_to_string(&stat).map_err(|source| RuntimeError::File { action: "read", path: stat.clone(), source })?;
    let start = start_time(&line).ok_or(RuntimeError::Format { path: stat, why: "no start time".into() })?;
    state[FIELD] = start.into();
    let new = path.with_extension("json.migrate");
    std::fs::write(&new, state.to_string()).map_err(failed("write"))?;
    std::fs::rename(&new, &path).map_err(failed("write"))
}

/// Field 22 of `/proc/PID/stat`. The second, the name, may hold spaces and brackets.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

fn delete(settings: &Settings, line: &CommandLine, id: &str) {
    let mut args = line.args[..line.globals].to_vec();
    args.extend(["delete", "--force", id].map(OsString::from));
    // The error that led here is the one to report; runc's log has this one's.
    let _ = runc(settings, &args).stdin(Stdio::null()).stdout(Stdio::null()).status();
}

fn absolute(path: &Path) -> Result<PathBuf, RuntimeError> {
    std::path::absolute(path).map_err(|source| RuntimeError::File { action: "find", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 5 0 0 0 1 2 0 0 20 0 1 0 12345 1 2 3";
        assert_eq!(start_time(stat), Some(12345));
        assert_eq!(start_time("7 (a) S 1"), None);
    }

    #[test]
    fn a_missing_pid_file_is_asked_for_where_runc_expects_it() {
        let line = CommandLine::parse(["--root", "/r", "create", "x"].map(OsString::from).to_vec());
        let (args, file) = with_pid_file(&line, Path::new("/b"));
        assert_eq!(args, ["--root", "/r", "create", "--pid-file", "/b/migrate.pid", "x"]);
        assert_eq!(file, Path::new("/b/migrate.pid"));
    }
}
