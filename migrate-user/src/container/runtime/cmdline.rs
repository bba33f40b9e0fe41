//! runc's command line, as far as the wrapper must understand it. Source: runc 1.1, `runc COMMAND --help`.

use super::{RuntimeError, Settings};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Flags that take a value, of runc itself and of its commands. A flag may be written `-x V`, `--x V`, `-x=V` or `--x=V`.
const GLOBAL_VALUES: &[&str] = &["log", "log-format", "root", "criu", "rootless"];
const CREATE_VALUES: &[&str] = &["bundle", "b", "console-socket", "pid-file", "preserve-fds"];
const EXEC_VALUES: &[&str] = &[
    "console-socket",
    "cwd",
    "env",
    "e",
    "user",
    "u",
    "additional-gids",
    "g",
    "process",
    "p",
    "pid-file",
    "process-label",
    "apparmor",
    "cap",
    "c",
    "preserve-fds",
    "cgroup",
];
const CHECKPOINT_VALUES: &[&str] = &[
    "image-path",
    "work-path",
    "parent-path",
    "page-server",
    "manage-cgroups-mode",
    "empty-ns",
    "status-fd",
    "console-socket",
    "bundle",
    "b",
    "pid-file",
    "lsm-profile",
    "lsm-mount-context",
];
const UPDATE_VALUES: &[&str] = &[
    "resources",
    "r",
    "blkio-weight",
    "cpu-period",
    "cpu-quota",
    "cpu-burst",
    "cpu-share",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpuset-cpus",
    "cpuset-mems",
    "cpu-idle",
    "memory",
    "memory-reservation",
    "memory-swap",
    "kernel-memory",
    "kernel-memory-tcp",
    "pids-limit",
    "l3-cache-schema",
    "mem-bw-schema",
];

/// The wrapper's own options, which precede runc's.
pub(super) struct Own;

impl Own {
    /// Takes `--agent-socket PATH` and `--runc PATH` off the front; the rest is runc's, untouched.
    pub(super) fn split(args: Vec<OsString>, mut settings: Settings) -> Result<(Settings, Vec<OsString>), RuntimeError> {
        let mut rest = args.into_iter().peekable();
        while let Some((name, value)) = rest.peek().and_then(|arg| flag(arg)) {
            let to = match name.as_str() {
                "agent-socket" => &mut settings.agent_socket,
                "runc" => &mut settings.runc,
                _ => break,
            };
            rest.next();
            let value = value.or_else(|| rest.next());
            *to = value.map(PathBuf::from).ok_or_else(|| RuntimeError::Usage(format!("--{name} needs a path")))?;
        }
        Ok((settings, rest.collect()))
    }
}

/// runc's command line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// All of it, as runc gets it.
    pub(super) args: Vec<OsString>,
    /// How many of `args` stand before the command.
    pub(super) globals: usize,
    pub(super) command: Option<String>,
    pub(super) id: Option<String>,
    /// `--log`, `--log-format json` and `--root`, before the command.
    pub(super) log: Option<PathBuf>,
    pub(super) log_json: bool,
    pub(super) root: Option<PathBuf>,
    /// `--bundle` and `--pid-file` of the command.
    pub(super) bundle: Option<PathBuf>,
    pub(super) pid_file: Option<PathBuf>,
}

impl CommandLine {
    pub(super) fn parse(args: Vec<OsString>) -> Self {
        let mut line = Self::default();
        let mut values = GLOBAL_VALUES;
        let mut at = 0;
        while at < args.len() {
            let arg = &args[at];
            at += 1;
            if let Some((name, value)) = flag(arg) {
                let value = if values.contains(&name.as_str()) && value.is_none() {
                    at += 1;
                    args.get(at - 1).cloned()
                } else {
                    value
                };
                line.set(&name, value);
            } else if line.command.is_none() {
                let command = arg.to_string_lossy().into_owned();
                values = match command.as_str() {
                    "create" | "run" => CREATE_VALUES,
                    "exec" => EXEC_VALUES,
                    "checkpoint" | "restore" => CHECKPOINT_VALUES,
                    "update" => UPDATE_VALUES,
                    _ => &[],
                };
                line.globals = at - 1;
                line.command = Some(command);
            } else if arg != "--" {
                // What follows the id is a signal, or the command of an exec.
                line.id = Some(arg.to_string_lossy().into_owned());
                break;
            }
        }
        line.args = args;
        line
    }

    fn set(&mut self, name: &str, value: Option<OsString>) {
        let path = || value.clone().map(PathBuf::from);
        if self.command.is_none() {
            match name {
                "log" => self.log = path(),
                "log-format" => self.log_json = value.as_deref() == Some(OsStr::new("json")),
                "root" => self.root = path(),
                _ => {}
            }
        } else {
            match name {
                "bundle" | "b" => self.bundle = path(),
                "pid-file" => self.pid_file = path(),
                _ => {}
            }
        }
    }

    /// The container's id.
    pub(super) fn need_id(&self) -> Result<String, RuntimeError> {
        let command = self.command.as_deref().unwrap_or_default();
        self.id.clone().ok_or_else(|| RuntimeError::Usage(format!("`{command}` without a container id")))
    }
}

/// A flag's name and the value after its `=`.
fn flag(arg: &OsStr) -> Option<(String, Option<OsString>)> {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let bytes = arg.as_bytes();
    let name = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    if name.is_empty() {
        return None;
    }
    let cut = name.iter().position(|&byte| byte == b'=');
    let value = cut.map(|at| OsString::from_vec(name[at + 1..].to_vec()));
    Some((String::from_utf8_lossy(&name[..cut.unwrap_or(name.len())]).into_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> CommandLine {
        CommandLine::parse(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn the_shim_s_create_is_understood() {
        let line = parse(
            "--root /run/runc/moby --log /b/log.json --log-format json --systemd-cgroup \
             create --bundle /b --pid-file /b/init.pid --no-pivot --console-socket /tmp/c 4f1c",
        );
        assert_eq!(line.command.as_deref(), Some("create"));
        assert_eq!(line.id.as_deref(), Some("4f1c"));
        assert_eq!(line.args[line.globals], "create");
        assert_eq!((line.log.unwrap(), line.log_json), ("/b/log.json".into(), true));
        assert_eq!(line.root.unwrap(), PathBuf::from("/run/runc/moby"));
        assert_eq!((line.bundle.unwrap(), line.pid_file.unwrap()), ("/b".into(), "/b/init.pid".into()));
    }

    #[test]
    fn values_after_an_equals_sign_and_single_dashes_work() {
        let line = parse("-root=/r --log=/l create -b /b --pid-file=/p x");
        assert_eq!(line.root.unwrap(), PathBuf::from("/r"));
        assert_eq!((line.bundle.unwrap(), line.pid_file.unwrap()), ("/b".into(), "/p".into()));
        assert_eq!(line.id.as_deref(), Some("x"));
    }

    #[test]
    fn an_exec_s_id_is_not_taken_from_its_flags() {
        let line = parse("--root /r exec --process /tmp/p --detach -e A=b --pid-file /tmp/q web sh -c id");
        assert_eq!((line.command.as_deref(), line.id.as_deref()), (Some("exec"), Some("web")));
    }

    #[test]
    fn commands_without_an_id_have_none() {
        assert_eq!(parse("--version").command, None);
        assert_eq!(parse("list --quiet").id, None);
        assert!(parse("exec --detach").need_id().unwrap_err().to_string().contains("`exec` without"));
        assert_eq!(parse("kill --all x 9").id.as_deref(), Some("x"));
    }

    #[test]
    fn the_wrapper_s_own_options_come_first_and_runc_never_sees_them() {
        let args = ["--runc", "/opt/runc", "--agent-socket=/s", "--root", "/r", "state", "x"].map(OsString::from).to_vec();
        let (settings, rest) = Own::split(args, Settings::default()).unwrap();
        assert_eq!((settings.runc, settings.agent_socket), ("/opt/runc".into(), "/s".into()));
        assert_eq!(rest, ["--root", "/r", "state", "x"]);
        assert!(Own::split(vec!["--runc".into()], Settings::default()).is_err());
    }
}
