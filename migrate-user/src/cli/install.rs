//! `migrate install` and `migrate uninstall`.

mod daemon_json;

use super::text::{print, print_json};
use super::{CliError, Global};
use crate::agent::api::{Code, DEFAULT_SOCKET};
use clap::Args;
use daemon_json::{DaemonJson, diff};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DEFAULT_FILE: &str = "/etc/docker/daemon.json";

const INSTALL_EXAMPLES: &str = "\
Examples:
  migrate install                  # shows what would change
  migrate install --apply && systemctl reload docker
  docker run -d --runtime migrate --network lab --ip 10.77.0.50 nginx";

const UNINSTALL_EXAMPLES: &str = "\
Examples:
  migrate uninstall --apply && systemctl reload docker";

/// Register the runtime with Docker.
///
/// Prints the change of Docker's daemon.json; --apply makes it. Other settings stay, the file as it was is kept beside it. Docker
/// need not be restarted: it reads its runtimes again on SIGHUP.
#[derive(Debug, Args)]
#[command(after_help = INSTALL_EXAMPLES)]
pub(super) struct Install {
    #[command(flatten)]
    file: File,
    /// This program, where Docker's containerd finds it.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// The runc that does the work, if it is not in PATH.
    #[arg(long, value_name = "PATH")]
    runc: Option<PathBuf>,
}

/// Take the runtime off Docker's list.
///
/// Containers that were made with it can no longer be started then.
#[derive(Debug, Args)]
#[command(after_help = UNINSTALL_EXAMPLES)]
pub(super) struct Uninstall {
    #[command(flatten)]
    file: File,
}

#[derive(Debug, Args)]
struct File {
    /// Make the change.
    #[arg(long)]
    apply: bool,
    /// Docker's configuration.
    #[arg(long, default_value = DEFAULT_FILE, value_name = "PATH")]
    daemon_json: PathBuf,
    /// What Docker is to call the runtime.
    #[arg(long, default_value = "migrate")]
    name: String,
}

impl Install {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        let program = match self.program {
            Some(program) => program,
            None => std::env::current_exe().map_err(|error| CliError::caused(Code::Failed, "where is this program?", error))?,
        };
        let runtime = entry(&program, &global.socket, self.runc.as_deref())?;
        self.file.change(global, |json| json.register(&self.file.name, runtime))
    }
}

impl Uninstall {
    pub(super) fn run(self, global: &Global) -> Result<ExitCode, CliError> {
        self.file.change(global, |json| json.unregister(&self.file.name))
    }
}

/// What daemon.json says of the runtime.
fn entry(program: &Path, socket: &Path, runc: Option<&Path>) -> Result<Value, CliError> {
    let mut args = vec![Value::from("runtime")];
    let socket = (socket != Path::new(DEFAULT_SOCKET)).then_some(("--agent-socket", socket));
    for (name, path) in socket.into_iter().chain(runc.map(|runc| ("--runc", runc))) {
        args.extend([Value::from(name), plain(path)?.into()]);
    }
    Ok(json!({"path": plain(program)?, "runtimeArgs": args}))
}

/// Docker writes the arguments into a shell script without quotes.
fn plain(path: &Path) -> Result<&str, CliError> {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=".contains(c);
    match path.to_str() {
        Some(text) if path.is_absolute() && text.chars().all(safe) => Ok(text),
        _ => Err(CliError::other(
            Code::Usage,
            format!("{} cannot be given to Docker: an absolute path of letters, digits and /._-+@:,= is needed", path.display()),
        )),
    }
}

impl File {
    fn change(&self, global: &Global, edit: impl FnOnce(&mut DaemonJson) -> Result<(), String>) -> Result<ExitCode, CliError> {
        let path = self.daemon_json.display();
        let old = DaemonJson::read(&self.daemon_json)
            .map_err(|error| CliError::caused(Code::Failed, format!("cannot use {path}"), error))?;
        let mut new = old.clone();
        edit(&mut new).map_err(|why| CliError::other(Code::Refused, format!("{path} stays as it is: {why}")))?;
        let changed = new.value != old.value;
        if changed && self.apply {
            new.write(&self.daemon_json)
                .map_err(|error| CliError::caused(Code::Failed, format!("cannot write {path}"), error))?;
        }
        if global.json {
            print_json(
                &json!({"file": self.daemon_json, "changed": changed, "applied": changed && self.apply, "contents": new.value}),
            )?;
        } else if !changed {
            print(&format!("{path} needs no change\n"))?;
        } else {
            print(&format!("--- {path}\n+++ {path}\n{}", diff(&old.text(), &new.text())))?;
            print(if self.apply {
                "\nDone. Docker reads it when it is told to: systemctl reload docker, or kill -HUP of dockerd.\n"
            } else {
                "\nNothing is changed yet: --apply does it.\n"
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_from_the_defaults_is_written() {
        let entry_of = |socket: &str, runc: Option<&Path>| entry(Path::new("/bin/migrate"), Path::new(socket), runc).unwrap();
        assert_eq!(entry_of(DEFAULT_SOCKET, None), json!({"path": "/bin/migrate", "runtimeArgs": ["runtime"]}));
        assert_eq!(
            entry_of("/s", Some(Path::new("/opt/runc")))["runtimeArgs"],
            json!(["runtime", "--agent-socket", "/s", "--runc", "/opt/runc"])
        );
    }

    #[test]
    fn a_path_that_a_shell_would_split_is_refused() {
        for path in ["/a b", "relative", "/a;b", "/$HOME"] {
            assert!(plain(Path::new(path)).is_err(), "{path}");
        }
    }
}
