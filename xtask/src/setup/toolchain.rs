//! The compiler for the eBPF programs: rustup's nightly where it has rust-src, else Debian's rustc-web with rust-web-src.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::{State, Step, packages};
use crate::run;

/// A compiler that can build `core` for `bpfel-unknown-none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BpfCompiler {
    /// rustup's nightly; its sysroot holds the sources of `core`.
    Nightly { sysroot: PathBuf },
    /// Debian's stable compiler and the sources of the same version, with unstable features allowed by `RUSTC_BOOTSTRAP=1`.
    Debian { rustc: PathBuf },
}

/// The compiler to use, `None` when there is none yet.
pub fn bpf_compiler() -> Option<BpfCompiler> {
    nightly().or_else(debian)
}

/// The newest LLVM whose bitcode our bpf-linker reads.
const LLVM_MAJOR: u32 = 22;
/// The oldest compiler that knows our language.
const NEEDED: &str = env!("CARGO_PKG_RUST_VERSION");

fn nightly() -> Option<BpfCompiler> {
    let version = run::output(Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]))?;
    if llvm_major(&version)? > LLVM_MAJOR {
        return None;
    }
    let text = run::output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    let sysroot = PathBuf::from(text.trim());
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir().then_some(BpfCompiler::Nightly { sysroot })
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version:"))?;
    line.trim().split('.').next()?.parse().ok()
}

fn debian() -> Option<BpfCompiler> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    if !packages::missing(packages::BPF_COMPILER).is_empty() {
        return None;
    }
    let version = run::output(Command::new(&rustc).arg("--version"))?;
    (release(&version)? >= numbers(NEEDED)?).then_some(BpfCompiler::Debian { rustc })
}

/// Major and minor of what `rustc --version` prints.
fn release(version: &str) -> Option<(u32, u32)> {
    numbers(version.split(' ').nth(1)?)
}

/// Major and minor of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
}

impl BpfCompiler {
    fn detail(&self) -> String {
        match self {
            Self::Nightly { sysroot } => format!("rustup nightly with rust-src in {}", sysroot.display()),
            Self::Debian { rustc } => format!("{} with rust-web-src", rustc.display()),
        }
    }
}

/// Makes sure that there is a compiler.
pub fn step(check: bool) -> Result<Step> {
    match bpf_compiler() {
        Some(compiler) => Ok(Step { name: "bpf-compiler", state: State::Present, detail: compiler.detail() }),
        None if check => {
            let detail = format!("{} of {NEEDED} or later", packages::BPF_COMPILER.join(" "));
            Ok(Step { name: "bpf-compiler", state: State::Missing, detail })
        }
        None => {
            // Old lists name an older compiler, which installs well and then does not know our edition of the language.
            packages::update()?;
            packages::install(packages::BPF_COMPILER)?;
            let compiler = bpf_compiler().with_context(|| format!("Debian's rustc-web is older than {NEEDED}"))?;
            Ok(Step { name: "bpf-compiler", state: State::Installed, detail: compiler.detail() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_version_is_read_from_rustc() {
        assert_eq!(llvm_major("rustc 1.97.0-nightly\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.97.0\n"), None);
    }

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        assert_eq!(release("rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)\n"), Some((1, 85)));
        assert!(numbers(NEEDED).is_some());
        assert!(release("rustc 1.100.0-nightly (0123 2026-01-01)").unwrap() > (1, 95));
        assert_eq!(release("rustc\n"), None);
    }
}
