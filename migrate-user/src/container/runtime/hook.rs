//! A replica's hooks. runc runs them with the container's state on standard input: `quiet` before anybody else's, `mute`
//! behind everybody else's.
//!
//! A replica has its source's address while the source is alive, so nothing may leave its interface before the address
//! moves. `quiet` makes the network namespace answer no ARP and do no IPv6 while its interface is being made; `mute` has the
//! agent attach the filter that drops everything.

use crate::agent::api::{BlockingClient, ClientError, Request};
use crate::sys::enter_netns;
use serde::Deserialize;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    Quiet,
    Mute {
        /// The agent's.
        socket: PathBuf,
    },
}

/// Why a hook failed, and with it `runc create`.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("cannot read the container's state from standard input")]
    State(#[source] io::Error),
    #[error("standard input is no container's state")]
    Format(#[from] serde_json::Error),
    #[error("process {0} is in this host's own network namespace, which cannot be silenced")]
    HostNetwork(i32),
    #[error("cannot silence the network namespace of process {pid}")]
    Quiet { pid: i32, source: io::Error },
    #[error("the agent did not mute the replica")]
    Mute(#[from] ClientError),
}

/// What of the OCI state counts here.
#[derive(Debug, Deserialize)]
struct State {
    id: String,
    pid: i32,
}

/// Runs a hook; the state is read from `input`.
pub fn run_hook(hook: &Hook, input: impl Read) -> Result<(), HookError> {
    let mut text = String::new();
    input.take(1 << 20).read_to_string(&mut text).map_err(HookError::State)?;
    let State { id, pid } = serde_json::from_str(&text)?;
    match hook {
        Hook::Quiet => quiet(pid),
        Hook::Mute { socket } => {
            BlockingClient::connect(socket, Duration::from_secs(20))?.tell(&Request::Mute { id, pid })?;
            Ok(())
        }
    }
}

/// All interfaces of the namespace of `pid`, those to come too, answer no ARP; those to come do no IPv6.
pub fn quiet(pid: i32) -> Result<(), HookError> {
    let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net"));
    let failed = |source| HookError::Quiet { pid, source };
    if of("self").map_err(failed)? == of(&pid.to_string()).map_err(failed)? {
        return Err(HookError::HostNetwork(pid));
    }
    set(pid, true).map_err(failed)
}

/// Undoes [`quiet`], when the address has moved.
pub fn unquiet(pid: i32) -> Result<(), HookError> {
    set(pid, false).map_err(|source| HookError::Quiet { pid, source })
}

/// The kernel takes the larger of `all` and the interface's own arp_ignore, so `all` suffices and interfaces keep theirs.
/// IPv6 is switched off by `default`, which new interfaces copy: `all` would take ::1 from the loopback interface.
fn set(pid: i32, silent: bool) -> io::Result<()> {
    enter_netns::within(enter_netns::of(pid)?, move || {
        sysctl(Path::new("/proc/sys/net/ipv4/conf/all/arp_ignore"), if silent { "8" } else { "0" })?;
        match sysctl(Path::new("/proc/sys/net/ipv6/conf/default/disable_ipv6"), if silent { "1" } else { "0" }) {
            // A kernel without IPv6 has nothing to switch off.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    })?
}

/// Writes and reads back: some files under /proc/sys take a write and keep their value.
fn sysctl(path: &Path, value: &str) -> io::Result<()> {
    std::fs::write(path, value)?;
    let now = std::fs::read_to_string(path)?;
    if now.trim() == value {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is {} after {value} was written", path.display(), now.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn alone() -> Option<Child> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let mut child =
            Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It echoes once it is there.
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Some(child)
    }

    fn value(pid: i32, path: &'static str) -> String {
        enter_netns::within(enter_netns::of(pid).unwrap(), || std::fs::read_to_string(path)).unwrap().unwrap().trim().to_owned()
    }

    #[test]
    fn quiet_silences_that_namespace_and_no_other_and_can_be_undone() {
        let Some(mut child) = alone() else { return };
        let pid = child.id() as i32;
        const ARP: &str = "/proc/sys/net/ipv4/conf/all/arp_ignore";
        let here = std::fs::read_to_string(ARP).unwrap();
        let state = format!(r#"{{"ociVersion":"1.0.2","id":"a","pid":{pid},"status":"creating"}}"#);
        run_hook(&Hook::Quiet, state.as_bytes()).unwrap();
        assert_eq!(value(pid, ARP), "8");
        assert_eq!(std::fs::read_to_string(ARP).unwrap(), here);
        unquiet(pid).unwrap();
        assert_eq!(value(pid, ARP), "0");
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn the_host_s_own_network_is_never_silenced() {
        let error = quiet(std::process::id() as i32).unwrap_err();
        assert!(matches!(error, HookError::HostNetwork(_)), "{error}");
    }

    #[test]
    fn rubbish_on_standard_input_is_an_error() {
        assert!(matches!(run_hook(&Hook::Quiet, &b"{}"[..]), Err(HookError::Format(_))));
    }
}
