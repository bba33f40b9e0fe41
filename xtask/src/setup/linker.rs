//! bpf-linker, built from crates.io against Debian's LLVM and put into the target directory.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{State, Step, packages};
use crate::{paths, run};

/// The version that was tried with this project's compilers.
const VERSION: &str = "0.10.3";
const LLVM: &str = "/usr/lib/llvm-22";

/// Makes sure that there is a bpf-linker: any that is found and starts is taken.
pub fn step(root: &Path, check: bool) -> Result<Step> {
    let name = "bpf-linker";
    if let Some(detail) = found(root) {
        return Ok(Step { name, state: State::Present, detail });
    }
    if check {
        return Ok(Step { name, state: State::Missing, detail: VERSION.to_string() });
    }
    let lacking = packages::missing(packages::BPF_LINKER);
    if !lacking.is_empty() {
        packages::install(&lacking)?;
    }
    run::run(
        Command::new(paths::cargo())
            .env("LLVM_PREFIX", LLVM)
            // Flags meant for this workspace's own programs (a static libc, say) do not suit the linker.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .args(["install", "bpf-linker", "--locked", "--version", VERSION])
            .args(["--no-default-features", "--features", "llvm-22", "--root"])
            .arg(paths::target(root).join("tools")),
    )?;
    Ok(Step { name, state: State::Installed, detail: found(root).unwrap_or_else(|| VERSION.to_string()) })
}

fn found(root: &Path) -> Option<String> {
    let path = paths::tool(root, "bpf-linker")?;
    let version = run::output(Command::new(&path).arg("--version"))?;
    Some(format!("{} ({})", path.display(), version.trim()))
}
