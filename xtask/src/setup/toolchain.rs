//! The compiler for the eBPF programs: rustup's nightly where it has rust-src, else Debian's rustc-web with rust-web-src.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

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
    packages::missing(packages::BPF_COMPILER).is_empty().then_some(BpfCompiler::Debian { rustc })
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
        None => packages::step("bpf-compiler", packages::BPF_COMPILER, check),
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
}
