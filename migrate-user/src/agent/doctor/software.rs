//! What runs on the kernel.

use crate::agent::api::Check;
use crate::container::docker::Docker;
use std::path::Path;
use std::process::Command;

/// Below this a log is soon cut off.
const LITTLE_BYTES: u64 = 2 << 30;

pub(super) fn runc() -> Check {
    const NAME: &str = "runc";
    const REMEDY: &str = "install runc 1.1 or later, or set MIGRATE_RUNC to its path";
    match Command::new(std::env::var_os("MIGRATE_RUNC").unwrap_or_else(|| "runc".into())).arg("--version").output() {
        Ok(out) if out.status.success() => {
            let text = String::from_utf8_lossy(&out.stdout);
            let line = text.lines().next().unwrap_or_default().to_owned();
            // errnoRet in seccomp profiles and createRuntime hooks.
            let old = line.strip_prefix("runc version 1.0").is_some() || line.starts_with("runc version 0");
            if old { Check::fail(NAME, line, REMEDY) } else { Check::ok(NAME, line) }
        }
        Ok(out) => Check::fail(NAME, String::from_utf8_lossy(&out.stderr).into_owned(), REMEDY),
        Err(error) => Check::fail(NAME, error.to_string(), REMEDY),
    }
}

pub(super) async fn docker(socket: &Path, runtime: &str) -> Vec<Check> {
    let info = match Docker::connect(socket).await {
        Ok(docker) => docker.info().await,
        Err(error) => Err(error),
    };
    let info = match info {
        Ok(info) => info,
        Err(error) => return vec![Check::fail("docker", error.to_string(), "start dockerd, or give its --docker socket")],
    };
    let mut checks = vec![Check::ok("docker", format!("{}, API {}", info.version, info.api))];
    checks.push(match info.storage_driver.as_str() {
        "overlay2" => Check::ok("storage driver", "overlay2"),
        other => Check::fail("storage driver", other, "set \"storage-driver\": \"overlay2\" in Docker's daemon.json"),
    });
    checks.push(if info.runtimes.iter().any(|name| name == runtime) {
        Check::ok("runtime", format!("Docker knows {runtime}"))
    } else {
        let found = format!("Docker knows {}", info.runtimes.join(", "));
        Check::fail("runtime", found, "run `migrate install --apply`, then `systemctl reload docker`")
    });
    checks
}

/// Room for logs, where the state directory is or would be made.
pub(super) fn disk(state_dir: &Path) -> Check {
    const NAME: &str = "disk";
    let there = state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{} MiB free for logs under {}", free >> 20, there.display());
            if free < LITTLE_BYTES {
                Check::warn(NAME, found, "make room, or give the agent another --state-dir")
            } else {
                Check::ok(NAME, found)
            }
        }
        Err(error) => Check::fail(NAME, format!("{}: {error}", there.display()), "give the agent another --state-dir"),
    }
}
