//! `migrate runtime` and its hooks.

use crate::agent::api::DEFAULT_SOCKET;
use crate::container::runtime::{self, Hook, run_hook};
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The OCI runtime that Docker calls in place of runc.
///
/// `migrate install` registers it. It takes runc's command line and passes it on to runc; `--agent-socket PATH` and `--runc
/// PATH` (or MIGRATE_SOCKET and MIGRATE_RUNC) may stand before it.
#[derive(Debug, Args)]
#[command(disable_version_flag = true, override_usage = "migrate runtime [--agent-socket PATH] [--runc PATH] RUNC-ARGUMENTS…")]
pub(super) struct Runtime {
    /// What runc is to be told.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "RUNC-ARGUMENTS")]
    args: Vec<OsString>,
}

impl Runtime {
    pub(super) fn run(self) -> ExitCode {
        runtime::main(self.args)
    }
}

/// A replica's hooks, called by runc with the container's state on standard input.
#[derive(Debug, Args)]
pub(super) struct RuntimeHook {
    #[command(subcommand)]
    hook: HookCommand,
}

#[derive(Debug, Subcommand)]
enum HookCommand {
    /// The network namespace answers no ARP and does no IPv6.
    Quiet,
    /// The agent drops everything on its interfaces.
    Mute {
        #[arg(long, default_value = DEFAULT_SOCKET)]
        agent_socket: PathBuf,
    },
}

impl RuntimeHook {
    pub(super) fn run(self) -> ExitCode {
        let hook = match self.hook {
            HookCommand::Quiet => Hook::Quiet,
            HookCommand::Mute { agent_socket } => Hook::Mute { socket: agent_socket },
        };
        match run_hook(&hook, std::io::stdin()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // runc puts what a hook says on standard error into its own error.
                eprintln!("{:#}", anyhow::Error::new(error));
                ExitCode::FAILURE
            }
        }
    }
}
