//! Compiles the eBPF programs, for their own target and with a compiler that can build core for it.
//!
//! Cargo's directory for it is its own, so that a build of the workspace and this one do not wait for each other's lock.
//! Nothing is compiled while the sources and the tools are those of the last time.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::paths;

/// The target of the programs: little-endian BPF.
const TARGET: &str = "bpfel-unknown-none";
/// The crate's binaries, and the object's name of each.
const OBJECTS: [&str; 3] = ["migrate-ebpf", "migrate-mute", "migrate-bare"];
/// What the objects are made of.
const SOURCES: [&str; 5] =
    ["migrate-ebpf/Cargo.toml", "migrate-ebpf/src", "migrate-common/Cargo.toml", "migrate-common/src", "Cargo.toml"];
/// Names the linker, if it is not where setup puts it.
const LINKER_VARIABLE: &str = "MIGRATE_BPF_LINKER";
/// Features of migrate-ebpf to build with, such as `log`.
const FEATURES_VARIABLE: &str = "MIGRATE_EBPF_FEATURES";

/// A compiler with core's source beside it.
#[derive(Debug, Hash)]
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// Where its LLVM is, for a linker that was built to share it.
    lib: PathBuf,
}

/// Builds the objects if they are out of date. Returns the recorder's; the others lie beside it.
pub fn build(root: &Path) -> Result<PathBuf> {
    let out = paths::target(root).join("bpf");
    let toolchain = toolchain()?;
    let linker = linker(root)?;
    let features = env::var(FEATURES_VARIABLE).unwrap_or_default();
    let stamp = format!("{:016x}\n", fingerprint(root, &toolchain, &linker, &features)?);
    let stamp_file = out.join("stamp");
    let object = |name: &str| out.join(format!("{name}.o"));
    let built = OBJECTS.iter().all(|name| object(name).is_file());
    if built && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(object(OBJECTS[0]));
    }
    compile(root, &out.join("build"), &toolchain, &linker, &features)?;
    for name in OBJECTS {
        let from = out.join("build").join(TARGET).join("release").join(name);
        let new = out.join(format!("{name}.new"));
        fs::copy(&from, &new).with_context(|| format!("copying {}", from.display()))?;
        fs::rename(&new, object(name)).with_context(|| format!("replacing {}", object(name).display()))?;
    }
    fs::write(&stamp_file, stamp).with_context(|| format!("writing {}", stamp_file.display()))?;
    Ok(object(OBJECTS[0]))
}

fn compile(root: &Path, target_dir: &Path, toolchain: &Toolchain, linker: &Path, features: &str) -> Result<()> {
    let flags = [
        format!("-Clinker={}", linker.display()),
        // BTF, without which the kernel takes neither the maps nor bpf_loop's callbacks; it is made from debug information.
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        // Atomics that return what was there before; every kernel that has the helpers that we use knows it.
        "-Ctarget-cpu=v3".to_owned(),
    ];
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--package", "migrate-ebpf", "--target", TARGET, "-Zbuild-std=core"])
        .args(["--features", features])
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("LD_LIBRARY_PATH", &toolchain.lib)
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTUP_TOOLCHAIN");
    let status = cargo.status().with_context(|| format!("starting {}", toolchain.cargo.display()))?;
    if !status.success() {
        bail!("the eBPF programs do not build ({status}); {} was the compiler", toolchain.rustc.display());
    }
    Ok(())
}

/// rustup's nightly if it has core's source, else the distribution's compiler with the source package of the same version.
fn toolchain() -> Result<Toolchain> {
    let nightly = sysroot(Command::new("rustup").args(["run", "nightly", "rustc"]));
    if let Some(root) = nightly.filter(|root| has_source(root)) {
        return Ok(Toolchain { cargo: root.join("bin/cargo"), rustc: root.join("bin/rustc"), lib: root.join("lib") });
    }
    let rustc = PathBuf::from("/usr/bin/rustc");
    if let Some(root) = sysroot(&mut Command::new(&rustc)).filter(|root| has_source(root)) {
        return Ok(Toolchain { cargo: paths::cargo(), rustc, lib: root.join("lib") });
    }
    bail!(
        "no compiler with core's source, neither rustup's nightly with rust-src nor Debian's rustc-web with rust-web-src: `cargo xtask setup` installs one"
    )
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
}

fn linker(root: &Path) -> Result<PathBuf> {
    if let Some(named) = env::var_os(LINKER_VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    paths::tool(root, "bpf-linker")
        .with_context(|| format!("no bpf-linker: `cargo xtask setup` installs it, or set {LINKER_VARIABLE}"))
}

/// Of everything that the objects depend on. Only compared with one of the same build of this program.
fn fingerprint(root: &Path, toolchain: &Toolchain, linker: &Path, features: &str) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    (toolchain, linker, features).hash(&mut hasher);
    for source in SOURCES {
        hash_tree(&root.join(source), &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn hash_tree(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let context = || format!("reading {}", path.display());
    if !path.is_dir() {
        path.hash(hasher);
        fs::read(path).with_context(context)?.hash(hasher);
        return Ok(());
    }
    let mut entries = fs::read_dir(path).with_context(context)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| hash_tree(entry, hasher))
}
