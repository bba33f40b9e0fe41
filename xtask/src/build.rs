//! `cargo xtask build`: the eBPF object first, then everything that contains or needs it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

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
