//! A root file system as a `docker load` archive of one layer.
//!
//! ```text
//!   manifest.json     [{Config, RepoTags, Layers}]
//!   <digest>.json     the configuration; its SHA-256 is the image's id
//!   layer.tar         the root file system; its SHA-256 is the layer's diff id
//! ```

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::{ImageError, Result, file};

/// All files carry this time, and the image says that it was made then: equal content gives equal ids.
const TIME: u64 = 1_700_000_000;
const CREATED: &str = "2023-11-14T22:13:20Z";

/// Packs `rootfs` and returns the image's id.
pub(super) fn write(rootfs: &Path, config: &Value, tag: &str, out: &Path) -> Result<String> {
    let layer = out.with_extension("layer");
    let packed = pack(rootfs, config, tag, &layer, out);
    fs::remove_file(&layer).map_err(file("cannot remove", &layer))?;
    packed.map_err(|source| ImageError::Pack { path: rootfs.to_path_buf(), source })
}

fn pack(rootfs: &Path, config: &Value, tag: &str, layer: &Path, out: &Path) -> io::Result<String> {
    let mut tar = tar::Builder::new(BufWriter::new(File::create(layer)?));
    add_folder(&mut tar, rootfs, Path::new(""))?;
    tar.into_inner()?.flush()?;
    let diff_id = digest(&mut BufReader::new(File::open(layer)?))?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
        "history": [{ "created": CREATED, "created_by": "cargo xtask lab" }],
    });
    let config = serde_json::to_vec(&config)?;
    let id = digest(&mut config.as_slice())?;
    let name = format!("{id}.json");
    let manifest = json!([{ "Config": name, "RepoTags": [format!("{tag}:latest")], "Layers": ["layer.tar"] }]);

    let mut tar = tar::Builder::new(BufWriter::new(File::create(out)?));
    add_bytes(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?)?;
    add_bytes(&mut tar, &name, &config)?;
    let size = fs::metadata(layer)?.len();
    tar.append_data(&mut plain_header(size), "layer.tar", File::open(layer)?)?;
    tar.into_inner()?.flush()?;
    Ok(format!("sha256:{id}"))
}

/// Adds what is in a folder, in the order of names.
fn add_folder<W: Write>(tar: &mut tar::Builder<W>, rootfs: &Path, below: &Path) -> io::Result<()> {
    let mut names: Vec<_> =
        fs::read_dir(rootfs.join(below))?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let inside = below.join(name);
        let path = rootfs.join(&inside);
        let metadata = fs::symlink_metadata(&path)?;
        let mut header = plain_header(0);
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(u64::from(metadata.uid()));
        header.set_gid(u64::from(metadata.gid()));
        if metadata.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, &inside, io::empty())?;
            add_folder(tar, rootfs, &inside)?;
        } else if metadata.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, &inside, fs::read_link(&path)?)?;
        } else {
            header.set_size(metadata.len());
            tar.append_data(&mut header, &inside, BufReader::new(File::open(&path)?))?;
        }
    }
    Ok(())
}

fn add_bytes<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut plain_header(bytes.len() as u64), name, bytes)
}

fn plain_header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(TIME);
    header
}

fn digest(reader: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(reader, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn rootfs(dir: &Path) {
        fs::create_dir(dir.join("bin")).unwrap();
        fs::write(dir.join("bin/program"), b"content").unwrap();
        fs::set_permissions(dir.join("bin/program"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("program", dir.join("bin/link")).unwrap();
    }

    #[test]
    fn equal_content_gives_equal_ids() {
        let ids: Vec<String> = (0..2)
            .map(|_| {
                let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                rootfs(root.path());
                write(root.path(), &json!({ "Cmd": ["/bin/program"] }), "lab/x", &out.path().join("x.tar")).unwrap()
            })
            .collect();
        assert_eq!(ids[0], ids[1]);
        assert!(ids[0].starts_with("sha256:") && ids[0].len() == 71);
    }

    #[test]
    fn modes_and_links_survive() {
        let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        rootfs(root.path());
        let path = out.path().join("x.tar");
        write(root.path(), &json!({}), "lab/x", &path).unwrap();
        let mut outer = tar::Archive::new(File::open(&path).unwrap());
        let layer =
            outer.entries().unwrap().map(Result::unwrap).find(|entry| entry.path().unwrap() == Path::new("layer.tar")).unwrap();
        let mut inner = tar::Archive::new(layer);
        let seen: Vec<(String, u32)> = inner
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .map(|entry| (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap()))
            .collect();
        assert!(seen.contains(&("bin/program".to_string(), 0o4755)));
        assert!(seen.iter().any(|(name, _)| name == "bin/link"));
    }
}
