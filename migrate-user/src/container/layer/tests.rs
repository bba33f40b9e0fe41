use super::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use tempfile::TempDir;

/// A folder on a file system that takes `trusted.` attributes, if this is root.
fn folder() -> Option<TempDir> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    Some(tempfile::tempdir_in("/var/tmp").unwrap())
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    rustix::fs::lgetxattr(path, name, &mut value[..]).ok().map(|len| value[..len].to_vec())
}

/// One of everything that a layer can hold.
fn fill(upper: &Path) {
    let at = |name: &str| upper.join(name);
    std::fs::create_dir_all(at("etc/app")).unwrap();
    std::fs::write(at("etc/app/config"), vec![7; 100_000]).unwrap();
    std::fs::set_permissions(at("etc/app/config"), std::fs::Permissions::from_mode(0o4750)).unwrap();
    std::os::unix::fs::chown(at("etc/app/config"), Some(33), Some(44)).unwrap();
    std::fs::set_permissions(at("etc/app/config"), std::fs::Permissions::from_mode(0o4750)).unwrap();
    std::fs::hard_link(at("etc/app/config"), at("etc/other")).unwrap();
    std::os::unix::fs::symlink("/etc/app/config", at("link")).unwrap();
    std::os::unix::fs::lchown(at("link"), Some(5), Some(6)).unwrap();
    std::fs::create_dir(at("opaque")).unwrap();
    rustix::fs::lsetxattr(at("opaque"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(at("opaque"), "trusted.overlay.origin", b"handle", XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(at("etc/app/config"), "trusted.note", b"a\0\n=b", XattrFlags::empty()).unwrap();
    rustix::fs::mknodat(CWD, at("gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::fs::write(at(&"n".repeat(200)), "a long name").unwrap();
    std::fs::write(at("empty"), "").unwrap();
}

#[test]
fn a_layer_comes_back_as_it_was() {
    let (Some(from), Some(to)) = (folder(), folder()) else { return };
    fill(from.path());
    let mut tar = Vec::new();
    let packed = pack(from.path(), &mut tar).unwrap();
    assert_eq!(unpack(tar.as_slice(), to.path()).unwrap(), packed);
    assert_eq!((packed.whiteouts, packed.bytes), (1, 100_000 + 11));

    let at = |name: &str| to.path().join(name);
    assert_eq!(std::fs::read(at("etc/app/config")).unwrap(), vec![7; 100_000]);
    let meta = std::fs::metadata(at("etc/app/config")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.nlink()), (0o4750, 33, 44, 2));
    assert_eq!(meta.ino(), std::fs::metadata(at("etc/other")).unwrap().ino());
    assert_eq!(std::fs::read_link(at("link")).unwrap(), Path::new("/etc/app/config"));
    assert_eq!(std::fs::symlink_metadata(at("link")).unwrap().uid(), 5);
    assert_eq!(xattr(&at("etc/app/config"), "trusted.note").unwrap(), b"a\0\n=b");
    assert_eq!(xattr(&at("opaque"), "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(xattr(&at("opaque"), "trusted.overlay.origin"), None);
    let gone = std::fs::symlink_metadata(at("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(std::fs::symlink_metadata(at("fifo")).unwrap().file_type().is_fifo());
    assert!(!at("socket").exists());
    for name in ["etc", "etc/app/config", "opaque", "empty", "link"] {
        let time = |root: &TempDir| {
            let meta = std::fs::symlink_metadata(root.path().join(name)).unwrap();
            (meta.mtime(), meta.mtime_nsec())
        };
        assert_eq!(time(&to), time(&from), "{name}");
    }

    let mut again = Vec::new();
    pack(to.path(), &mut again).unwrap();
    assert_eq!(again, tar, "a layer and its copy give the same tar");
}

#[test]
fn what_is_there_already_is_replaced() {
    let (Some(from), Some(to)) = (folder(), folder()) else { return };
    std::fs::create_dir(from.path().join("work")).unwrap();
    std::fs::write(from.path().join("work/file"), "new").unwrap();
    std::fs::create_dir_all(to.path().join("work/file/deep")).unwrap();
    std::fs::write(to.path().join("work/kept"), "kept").unwrap();
    let mut tar = Vec::new();
    pack(from.path(), &mut tar).unwrap();
    unpack(tar.as_slice(), to.path()).unwrap();
    assert_eq!(std::fs::read_to_string(to.path().join("work/file")).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(to.path().join("work/kept")).unwrap(), "kept");
}

#[test]
fn no_entry_leads_out_of_the_layer() {
    let (Some(to), Some(outside)) = (folder(), folder()) else { return };
    let file = |path: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        // By hand: the builder refuses such names.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append(&header, &b"x"[..]).unwrap();
        tar.into_inner().unwrap()
    };
    std::os::unix::fs::symlink(outside.path(), to.path().join("door")).unwrap();
    for path in ["../up", "/root", "door/x", "a/../../b", "."] {
        let error = unpack(file(path).as_slice(), to.path()).unwrap_err();
        assert!(matches!(error, LayerError::Escape { .. } | LayerError::Entry { .. }), "{path}: {error}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_tar_that_is_cut_is_an_error_wherever() {
    let (Some(from), Some(to)) = (folder(), folder()) else { return };
    std::fs::write(from.path().join("file"), vec![1; 5000]).unwrap();
    let mut tar = Vec::new();
    pack(from.path(), &mut tar).unwrap();
    for cut in (1..tar.len() - 1024).step_by(257) {
        assert!(unpack(&tar[..cut], to.path()).is_err(), "cut at {cut}");
    }
}

#[test]
fn references_to_the_host_s_lower_layers_are_refused() {
    let Some(from) = folder() else { return };
    std::fs::create_dir(from.path().join("moved")).unwrap();
    rustix::fs::lsetxattr(from.path().join("moved"), "trusted.overlay.redirect", b"/old", XattrFlags::empty()).unwrap();
    let error = pack(from.path(), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("moved"), "{error}");
}
