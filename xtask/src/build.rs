//! `cargo xtask build`: the eBPF object first, then everything that contains or needs it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{ebpf, paths, run};

/// Builds the eBPF object, `migrate` and the programs of the lab.
pub fn all(root: &Path, release: bool) -> Result<()> {
    ebpf::build(root)?;
    let mut cargo = Command::new(paths::cargo());
    cargo.current_dir(root).args(["build", "--quiet", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    run::run(&mut cargo)
}

/// Where a program of the workspace is after [`all`].
pub fn binary(root: &Path, name: &str) -> PathBuf {
    paths::target(root).join("debug").join(name)
}

/// The absolute path of the program that somebody chose, or else of `built`: a lab's hosts start it from folders of their own.
pub fn chosen(given: Option<&Path>, built: PathBuf) -> Result<PathBuf> {
    let program = given.map_or(built, Path::to_owned);
    std::path::absolute(&program).with_context(|| format!("cannot resolve {}", program.display()))
}

/// Where the program that [`all`] builds with optimisations is.
pub fn release_binary(root: &Path, name: &str) -> PathBuf {
    paths::target(root).join("release").join(name)
}

/// The target of programs that are linked statically: named, so that its flags do not apply to build scripts and macros.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the guests as one static program, which needs nothing else in its image, and returns its path.
pub fn static_guests(root: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(paths::cargo());
    cargo.current_dir(root).env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static").args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "guests",
        "--target",
        STATIC_TARGET,
    ]);
    run::run(&mut cargo)?;
    Ok(paths::target(root).join(STATIC_TARGET).join("release/guests"))
}
