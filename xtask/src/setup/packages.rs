//! Debian packages: which are needed, which are missing, and installing them without starting a service.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{State, Step};
use crate::run;

/// Needed on every machine: a C linker and libc for Rust, the container tools, `ip` and `tc` for the lab, and a program that
/// is an image by itself for the tests.
pub const BASE: &[&str] = &[
    "gcc",
    "libc6-dev",
    "docker.io",
    "containerd",
    "runc",
    "iproute2",
    "util-linux",
    "ca-certificates",
    "dpkg",
    "procps",
    "busybox-static",
];

/// Needed for `cargo xtask bench` alone: the load generators, and what recordings are compared with.
pub const BENCH: &[&str] = &["wrk", "redis-tools", "strace", "tcpdump"];

/// Needed to compile eBPF programs where rustup has no nightly with rust-src.
pub const BPF_COMPILER: &[&str] = &["rustc-web", "rust-web-src"];

/// Needed to build bpf-linker against Debian's own LLVM.
pub const BPF_LINKER: &[&str] = &["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev", "g++"];

/// A file that forbids maintainer scripts to start services (exit code 101: "action forbidden").
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The packages of `wanted` that are not installed.
pub fn missing(wanted: &[&'static str]) -> Vec<&'static str> {
    wanted
        .iter()
        .copied()
        .filter(|name| {
            let status = run::output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}\n", name]));
            // A package of several architectures gives a line for each.
            !status.is_some_and(|text| text.lines().any(|line| line.trim() == "installed"))
        })
        .collect()
}

/// Installs what of `wanted` is missing, or with `check` only says so.
pub fn step(name: &'static str, wanted: &[&'static str], check: bool) -> Result<Step> {
    let lacking = missing(wanted);
    if lacking.is_empty() {
        return Ok(Step { name, state: State::Present, detail: wanted.join(" ") });
    }
    let detail = lacking.join(" ");
    if check {
        return Ok(Step { name, state: State::Missing, detail });
    }
    install(&lacking)?;
    Ok(Step { name, state: State::Installed, detail })
}

/// Installs packages by apt. No service of theirs is started.
pub fn install(names: &[&str]) -> Result<()> {
    // SAFETY: geteuid takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        bail!("packages are missing ({}) and only root can install them", names.join(" "));
    }
    let _policy = ServicePolicy::forbid()?;
    let attempt = || {
        run::run(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"])
                .args(names),
        )
    };
    // The package lists of a fresh machine are absent, those of an old one name versions that are gone: in both cases update once.
    if attempt().is_err() {
        update()?;
        attempt()?;
    }
    Ok(())
}

/// Brings apt's lists up to date.
pub fn update() -> Result<()> {
    run::run(Command::new("apt-get").arg("update"))
}

/// Forbids maintainer scripts to start services for as long as it lives. A policy that the machine already has is left alone.
struct ServicePolicy {
    ours: Option<PathBuf>,
}

impl ServicePolicy {
    fn forbid() -> Result<Self> {
        let path = Path::new(POLICY);
        match fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(_) => {
                let policy = Self { ours: Some(path.to_path_buf()) };
                fs::write(path, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
                Ok(policy)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(error) => Err(error).with_context(|| format!("cannot create {POLICY}")),
        }
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
            // Leaving it behind would only keep later packages from starting services: worth a word, not a failure.
            if let Err(error) = fs::remove_file(path) {
                eprintln!("cannot remove {}: {error}", path.display());
            }
        }
    }
}
