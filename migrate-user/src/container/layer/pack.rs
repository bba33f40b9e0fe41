//! From a directory to a tar.

use super::{HOST_XATTRS, LayerError, LayerStats, PAX_MTIME, PAX_XATTR, REFUSED_XATTRS, to_hex};
use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Writes the directory `upper` as a tar to `to`. Nothing may change in it meanwhile: the container is not started yet, or is
/// frozen.
///
/// # Errors
/// [`LayerError::Unsupported`] for what overlayfs features of the host have put there that mean nothing on another.
pub fn pack(upper: &Path, to: impl Write) -> Result<LayerStats, LayerError> {
    let mut builder = Builder::new(to);
    builder.mode(tar::HeaderMode::Complete);
    let mut packer = Packer { upper, builder, links: HashMap::new(), stats: LayerStats::default() };
    packer.directory(Path::new(""))?;
    packer.builder.into_inner().and_then(|mut to| to.flush()).map_err(LayerError::Tar)?;
    Ok(packer.stats)
}

struct Packer<'a, W: Write> {
    upper: &'a Path,
    builder: Builder<W>,
    /// Where a file with several names was first seen, by device and inode number.
    links: HashMap<(u64, u64), PathBuf>,
    stats: LayerStats,
}

impl<W: Write> Packer<'_, W> {
    /// What is in a directory; `at` is relative to the layer.
    fn directory(&mut self, at: &Path) -> Result<(), LayerError> {
        let failed = |source| LayerError::Entry { action: "list", path: at.to_owned(), source };
        let mut names = std::fs::read_dir(self.upper.join(at))
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(failed)?;
        names.sort();
        for name in names {
            let path = at.join(name);
            let failed = |source| LayerError::Entry { action: "read", path: path.clone(), source };
            let meta = std::fs::symlink_metadata(self.upper.join(&path)).map_err(failed)?;
            if meta.file_type().is_socket() {
                continue;
            }
            self.attributes(&path, &meta)?;
            self.entry(&path, &meta).map_err(failed)?;
            self.stats.entries += 1;
            if meta.is_dir() {
                self.directory(&path)?;
            }
        }
        Ok(())
    }

    /// The PAX records of the entry that follows.
    fn attributes(&mut self, path: &Path, meta: &Metadata) -> Result<(), LayerError> {
        let mut records = vec![(PAX_MTIME.to_owned(), format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()).into_bytes())];
        let failed = |source| LayerError::Entry { action: "read attributes", path: path.to_owned(), source };
        for (name, value) in xattrs(&self.upper.join(path)).map_err(failed)? {
            if REFUSED_XATTRS.contains(&name.as_str()) {
                let why = "a reference to a lower layer of this host (overlay's redirect_dir or metacopy)";
                return Err(LayerError::Unsupported { path: path.to_owned(), why });
            }
            if !HOST_XATTRS.contains(&name.as_str()) {
                records.push((format!("{PAX_XATTR}{}", to_hex(name.as_bytes())), to_hex(&value).into_bytes()));
            }
        }
        let records = records.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(records).map_err(failed)
    }

    fn entry(&mut self, path: &Path, meta: &Metadata) -> io::Result<()> {
        let kind = meta.file_type();
        let mut header = Header::new_gnu();
        header.set_metadata(meta);
        header.set_size(0);
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = std::fs::read_link(self.upper.join(path))?;
            return self.builder.append_link(&mut header, path, target);
        }
        if !meta.is_dir() && meta.nlink() > 1 {
            if let Some(first) = self.links.get(&(meta.dev(), meta.ino())) {
                header.set_entry_type(EntryType::Link);
                return self.builder.append_link(&mut header, path, first);
            }
            self.links.insert((meta.dev(), meta.ino()), path.to_owned());
        }
        if kind.is_file() {
            header.set_size(meta.len());
            self.stats.bytes += meta.len();
            // A file that shrinks or grows meanwhile is an error of the builder's: the size is in the header already.
            let file = std::fs::File::open(self.upper.join(path))?;
            return self.builder.append_data(&mut header, path, io::Read::take(file, meta.len()));
        }
        let kind = if meta.is_dir() {
            EntryType::Directory
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else {
            let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
            if kind.is_char_device() && meta.rdev() == 0 {
                self.stats.whiteouts += 1;
            }
            if kind.is_char_device() { EntryType::Char } else { EntryType::Block }
        };
        header.set_entry_type(kind);
        self.builder.append_data(&mut header, path, io::empty())
    }
}

/// Names and values, by name. Names that are not UTF-8 do not exist: the kernel's are ASCII, `user.` ones by convention.
fn xattrs(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; rustix::fs::llistxattr_query(path)?];
    let len = rustix::fs::llistxattr(path, &mut names[..])?;
    names.truncate(len);
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut value = vec![0; rustix::fs::lgetxattr_query(path, name)?];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(len);
        found.push((name.to_string_lossy().into_owned(), value));
    }
    found.sort();
    Ok(found)
}
