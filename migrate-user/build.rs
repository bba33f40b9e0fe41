//! Embeds the eBPF objects that `cargo xtask ebpf` has built. Without them the crate builds, too: it then says so at run time.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Overrides where the recorder's object is; the others are looked for beside it.
const OBJECT_VARIABLE: &str = "MIGRATE_EBPF_OBJECT";
/// Constant in the generated code, file name beside the recorder's object.
const OBJECTS: [(&str, &str); 2] = [("RECORDER", "migrate-ebpf.o"), ("MUTE", "migrate-mute.o")];

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let named = env::var_os(OBJECT_VARIABLE).map(PathBuf::from);
    let folder = named.as_deref().and_then(Path::parent).map_or_else(default_folder, Path::to_path_buf);
    let mut code = String::new();
    for (constant, name) in OBJECTS {
        let object = match &named {
            Some(recorder) if constant == "RECORDER" => recorder.clone(),
            _ => folder.join(name),
        };
        println!("cargo::rerun-if-changed={}", object.display());
        let value = if object.is_file() {
            format!("Some(aya::include_bytes_aligned!({:?}))", object.display().to_string())
        } else {
            "None".to_owned()
        };
        code += &format!("pub(super) const {constant}: Option<&[u8]> = {value};\n");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("objects.rs");
    fs::write(out, code).expect("OUT_DIR can be written");
}

/// Where `cargo xtask ebpf` puts the objects.
fn default_folder() -> PathBuf {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("../target"), PathBuf::from);
    let folder = target.join("bpf");
    folder.canonicalize().unwrap_or(folder)
}
