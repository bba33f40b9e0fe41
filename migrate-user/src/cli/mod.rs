//! The command line: one file a subcommand. All but `agent`, `runtime`, `install` and what only reads files are clients of the
//! agent.

mod agent;
mod client;
mod completions;
mod doctor;
mod inode_supervisor;
mod install;
mod log;
mod man;
mod moving;
mod ps;
mod rates;
mod record;
mod replay;
mod resolve;
mod runtime;
mod status;
mod syscalls;
mod text;

pub use syscalls::markdown as syscalls_markdown;

use crate::agent::api::{ApiError, ClientError, Code, DEFAULT_SOCKET};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; nothing has changed
  2  wrong usage
  3  refused: the container cannot be moved, or the other host cannot take it
  4  diverged: the replica did something else than the log says
  5  the log is damaged, cut short, of another version, or has a gap
  6  in doubt: past the point of no return and the other agent does not answer; see `migrate ps`
  7  no agent answers";

/// Moves running Docker containers between hosts; their clients notice only a pause.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// The agent's unix socket.
    #[arg(long, global = true, env = "MIGRATE_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Print JSON; of an outcome, one object on the last line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(doctor::Doctor),
    Ps(ps::Ps),
    Rates(Box<rates::Rates>),
    Move(moving::Move),
    Record(record::Record),
    Replay(replay::Replay),
    Log(log::Log),
    Syscalls(syscalls::Syscalls),
    Install(install::Install),
    Uninstall(install::Uninstall),
    Status(status::Status),
    Resolve(resolve::Resolve),
    Agent(agent::Agent),
    Runtime(runtime::Runtime),
    #[command(hide = true)]
    InodeSupervisor(inode_supervisor::InodeSupervisor),
    #[command(hide = true)]
    RuntimeHook(runtime::RuntimeHook),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A sentence, and the cause in the chain.
    #[error("{message}")]
    Other { code: Code, message: String, source: Option<Box<dyn std::error::Error + Send + Sync>> },
    /// The reader of our output has gone, as `head` does.
    #[error("nobody reads the output")]
    Pipe,
}

impl CliError {
    fn other(code: Code, message: impl Into<String>) -> Self {
        Self::Other { code, message: message.into(), source: None }
    }

    fn caused(code: Code, message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other { code, message: message.into(), source: Some(Box::new(source)) }
    }

    fn code(&self) -> Code {
        match self {
            Self::Client(error) => error.code(),
            Self::Api(error) => error.code,
            Self::Other { code, .. } => *code,
            Self::Pipe => Code::Failed,
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::caused(Code::Failed, "cannot write the output", error),
        }
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let done = match command {
        Command::Doctor(args) => args.run(&global),
        Command::Ps(args) => args.run(&global),
        Command::Rates(args) => args.run(&global),
        Command::Move(args) => args.run(&global),
        Command::Record(args) => args.run(&global),
        Command::Replay(args) => args.run(&global),
        Command::Log(args) => args.run(&global),
        Command::Syscalls(args) => args.run(&global),
        Command::Install(args) => args.run(&global),
        Command::Uninstall(args) => args.run(&global),
        Command::Status(args) => args.run(&global),
        Command::Resolve(args) => args.run(&global),
        Command::Agent(args) => args.run(&global),
        Command::Runtime(args) => return args.run(),
        Command::RuntimeHook(args) => return args.run(),
        Command::InodeSupervisor(args) => return args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            text::print_error(&error, global.json);
            ExitCode::from(error.code().exit_code())
        }
    }
}
