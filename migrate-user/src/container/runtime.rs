//! `migrate runtime …`: the OCI runtime that Docker calls in place of runc.
//!
//! containerd's shim calls it with runc's command line, and runc does the work; what is different:
//!
//! * `create` asks the agent for the container's role, edits the bundle ([`bundle`]) so that the container is deterministic,
//!   runs `runc create` under `personality(ADDR_NO_RANDOMIZE)` (for a replica also in a time namespace), then tells the
//!   agent the first process's pid and waits until it has attached. Only then does it return, so `start` lets no
//!   instruction of the image run unrecorded. If the agent cannot, the container is deleted and `create` fails.
//! * `exec` acts on a container from outside its log, and is refused unless the agent allows it.
//! * `checkpoint`, `restore` and `update` are reported to the agent, and `delete` once it is done.
//! * `run` is refused: it leaves the agent no moment between create and start.
//!
//! Everything else becomes runc by exec(2). Nothing here may use threads or write to standard output, which is the
//! container's.

mod bundle;
mod cmdline;
mod create;
mod hook;
mod log;
mod reasons;

pub use hook::{Hook, HookError, quiet, run_hook, unquiet};

use crate::agent::api::{BlockingClient, ClientError, DEFAULT_SOCKET, Request, Response};
use cmdline::{CommandLine, Own};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

/// How long the agent may take for a short answer.
const SHORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the runtime failed. Docker shows it to whoever started the container.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("runtime `migrate`: {0}")]
    Usage(String),
    #[error("runtime `migrate`: {}", agent_words(command, source))]
    Agent { command: &'static str, source: ClientError },
    #[error("runtime `migrate`: cannot run {}: {source}", runc.display())]
    Runc { runc: PathBuf, source: io::Error },
    #[error("runtime `migrate`: cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("runtime `migrate`: {} is not what runc writes: {why}", path.display())]
    Format { path: PathBuf, why: String },
    #[error("runtime `migrate`: cannot give the replica the source's clocks: {0}")]
    Clocks(io::Error),
    #[error("runtime `migrate`: a replica cannot have this configuration: {}", .0.join("; "))]
    Replica(Vec<String>),
    #[error("refused: {0}")]
    Exec(String),
    #[error(
        "runtime `migrate`: `runc run` is refused, since nothing could be recorded before the first instruction: use create and start"
    )]
    Run,
}

/// What the agent said, or that it said nothing, in one line: Docker shows no more.
fn agent_words(command: &str, error: &ClientError) -> String {
    let ClientError::Agent(error) = error else {
        return format!("{command} of a container needs the agent: {}", chain(error));
    };
    let mut text = format!("{command} is refused: {}", error.message);
    for detail in &error.details {
        text.push_str(&format!("; {detail}"));
    }
    if let Some(remedy) = &error.remedy {
        text.push_str(&format!(". Help: {remedy}"));
    }
    text
}

/// An error and its sources in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// What the wrapper was told about itself, the rest being runc's.
#[derive(Clone, Debug)]
pub struct Settings {
    pub agent_socket: PathBuf,
    /// A path, or a name to look up in PATH.
    pub runc: PathBuf,
}

impl Default for Settings {
    /// From `MIGRATE_SOCKET` and `MIGRATE_RUNC`.
    fn default() -> Self {
        let or = |name, default: &str| std::env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from);
        Self { agent_socket: or("MIGRATE_SOCKET", DEFAULT_SOCKET), runc: or("MIGRATE_RUNC", "runc") }
    }
}

/// Runs `migrate runtime ARGS`. `args`: what follows `runtime`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (settings, args) = match Own::split(args.into_iter().collect(), Settings::default()) {
        Ok(split) => split,
        Err(error) => return report(&error, None),
    };
    let line = CommandLine::parse(args);
    match run(&settings, &line) {
        Ok(code) => code,
        Err(error) => report(&error, line.log.as_deref().map(|path| (path, line.log_json))),
    }
}

fn report(error: &RuntimeError, log: Option<(&Path, bool)>) -> ExitCode {
    eprintln!("{error}");
    if let Some((path, json)) = log {
        log::append(path, json, &error.to_string());
    }
    ExitCode::FAILURE
}

fn run(settings: &Settings, line: &CommandLine) -> Result<ExitCode, RuntimeError> {
    match line.command.as_deref() {
        Some("create") => create::create(settings, line),
        Some("run") => Err(RuntimeError::Run),
        Some("exec") => {
            let id = line.need_id()?;
            match ask(settings, "exec", &Request::Exec { id })? {
                Response::Exec { allow: true, .. } => become_runc(settings, line),
                Response::Exec { why, .. } => Err(RuntimeError::Exec(why)),
                other => Err(RuntimeError::Agent { command: "exec", source: ClientError::unexpected(&other) }),
            }
        }
        Some(command @ ("checkpoint" | "restore" | "update")) => {
            let request = Request::Touched { id: line.need_id()?, command: command.to_owned() };
            ask(settings, "a change", &request)?;
            become_runc(settings, line)
        }
        Some("delete") => {
            let status = spawn(settings, &mut runc(settings, &line.args))?;
            if let Some(id) = line.id.clone()
                && status.success()
            {
                // The container is gone whether the agent hears of it or not; it looks for itself when it starts.
                let _ = ask(settings, "delete", &Request::Deleted { id });
            }
            Ok(code_of(status))
        }
        _ => become_runc(settings, line),
    }
}

fn ask(settings: &Settings, command: &'static str, request: &Request) -> Result<Response, RuntimeError> {
    let answer = BlockingClient::connect(&settings.agent_socket, SHORT_TIMEOUT).and_then(|mut agent| agent.ask(request));
    answer.map_err(|source| RuntimeError::Agent { command, source })
}

fn runc(settings: &Settings, args: &[OsString]) -> Command {
    let mut command = Command::new(&settings.runc);
    command.args(args);
    command
}

fn become_runc(settings: &Settings, line: &CommandLine) -> Result<ExitCode, RuntimeError> {
    let source = runc(settings, &line.args).exec();
    Err(RuntimeError::Runc { runc: settings.runc.clone(), source })
}

fn spawn(settings: &Settings, command: &mut Command) -> Result<ExitStatus, RuntimeError> {
    command.status().map_err(|source| RuntimeError::Runc { runc: settings.runc.clone(), source })
}

/// runc's own exit code; a signal that killed it counts as in a shell.
fn code_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
