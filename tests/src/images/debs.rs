//! Debian packages, downloaded by apt and unpacked without being installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::lab;

use super::error::{ImageError, Result, file};

/// Unpacks packages into a root file system. What was downloaded before is taken from `cache`.
pub(super) fn unpack(cache: &Path, packages: &[&str], rootfs: &Path) -> Result<()> {
    let folder = cache.join("debs");
    fs::create_dir_all(&folder).map_err(file("cannot create", &folder))?;
    let wanted: Vec<&str> = packages.iter().copied().filter(|package| find(&folder, package).is_none()).collect();
    if !wanted.is_empty() {
        download(&folder, &wanted)?;
    }
    for package in packages {
        let deb = find(&folder, package).ok_or_else(|| ImageError::NoPackage { package: (*package).to_string() })?;
        lab::run_output(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(rootfs))?;
    }
    Ok(())
}

fn download(folder: &Path, packages: &[&str]) -> Result<()> {
    let fetch = || {
        // As root apt would switch to a user that may not write here; and what this machine has installed is no matter.
        lab::run_output(
            Command::new("apt-get")
                .current_dir(folder)
                .args(["-o", "APT::Sandbox::User=root", "-o", "Dir::State::status=/dev/null", "download"])
                .args(packages),
        )
    };
    if fetch().is_err() {
        lab::run_output(Command::new("apt-get").arg("update"))?;
        fetch()?;
    }
    Ok(())
}

fn find(folder: &Path, package: &str) -> Option<PathBuf> {
    let start = format!("{package}_");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.pop()
}
