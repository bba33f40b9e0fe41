//! From a tar to a directory.

use super::{LayerError, LayerStats, PAX_MTIME, PAX_XATTR, from_hex};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// Makes in `upper` what [`pack`](super::pack) wrote. Directories that are there already get the tar's mode, owner and
/// attributes; other names that are there are replaced. Nobody else may write there meanwhile: the container was created and not
/// started.
///
/// # Errors
/// [`LayerError::Escape`] for an entry outside `upper`, also by way of a symbolic link; [`LayerError::Tar`] for a damaged tar.
/// What was made until then stays.
pub fn unpack(from: impl Read, upper: &Path) -> Result<LayerStats, LayerError> {
    let open = |path: &Path| rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = open(upper).map_err(|error| LayerError::Entry { action: "open", path: upper.to_owned(), source: error.into() })?;
    let mut stats = LayerStats::default();
    let mut directories = Vec::new();
    let mut archive = Archive::new(from);
    for entry in archive.entries().map_err(LayerError::Tar)? {
        let mut entry = entry.map_err(LayerError::Tar)?;
        let made = Made::parse(&mut entry)?;
        let failed = |source: io::Error| LayerError::Entry { action: "make", path: made.path.clone(), source };
        let place = Place::of(&root, &made.path)?;
        made.create(&place, &root, &mut entry, &mut stats).map_err(failed)?;
        stats.entries += 1;
        if made.kind == EntryType::Directory {
            // Making what is in it changes its time.
            directories.push(made);
        } else if made.kind != EntryType::Link {
            made.set_time(&place).map_err(failed)?;
        }
    }
    for made in directories.iter().rev() {
        let failed = |source: io::Error| LayerError::Entry { action: "set the time of", path: made.path.clone(), source };
        made.set_time(&Place::of(&root, &made.path)?).map_err(failed)?;
    }
    Ok(stats)
}

/// A name in an open directory.
struct Place {
    parent: OwnedFd,
    name: PathBuf,
}

impl Place {
    /// The parent must exist inside `root`, and no symbolic link may be on the way.
    fn of(root: &OwnedFd, path: &Path) -> Result<Self, LayerError> {
        let escape = || LayerError::Escape { path: path.to_owned() };
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(escape());
        }
        let name = path.file_name().ok_or_else(escape)?.into();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat2(root, parent, flags, Mode::empty(), how) {
            Ok(parent) => Ok(Self { parent, name }),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => Err(escape()),
            Err(error) => Err(LayerError::Entry { action: "find the folder of", path: path.to_owned(), source: error.into() }),
        }
    }

    /// A path for the calls that take no directory: through the descriptor, so that nothing on the way is looked up again.
    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.parent.as_raw_fd().to_string()).join(&self.name)
    }

    fn kind(&self) -> io::Result<Option<FileType>> {
        match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes away what is there, unless it is a directory and one is wanted.
    fn clear(&self, for_directory: bool) -> io::Result<()> {
        match self.kind()? {
            None => Ok(()),
            Some(FileType::Directory) if for_directory => Ok(()),
            Some(FileType::Directory) => std::fs::remove_dir_all(self.path()),
            Some(_) => Ok(rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::empty())?),
        }
    }
}

/// An entry's header, read.
struct Made {
    path: PathBuf,
    kind: EntryType,
    mode: Mode,
    uid: u32,
    gid: u32,
    device: (u32, u32),
    target: Option<PathBuf>,
    mtime: Timespec,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Made {
    fn parse<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self, LayerError> {
        let mut mtime = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut xattrs = Vec::new();
        for record in entry.pax_extensions().map_err(LayerError::Tar)?.into_iter().flatten() {
            let record = record.map_err(LayerError::Tar)?;
            let key = record.key().map_err(|error| LayerError::Tar(io::Error::other(error)))?;
            if key == PAX_MTIME {
                mtime = parse_time(record.value_bytes()).ok_or_else(|| LayerError::Tar(io::Error::other("no time")))?;
            } else if let Some(name) = key.strip_prefix(PAX_XATTR) {
                let pair = from_hex(name.as_bytes()).zip(from_hex(record.value_bytes()));
                xattrs.push(pair.ok_or_else(|| LayerError::Tar(io::Error::other("no attribute")))?);
            }
        }
        let header = entry.header();
        let number = |value: io::Result<u64>| {
            value.and_then(|value| u32::try_from(value).map_err(io::Error::other)).map_err(LayerError::Tar)
        };
        let device = match header.entry_type() {
            EntryType::Char | EntryType::Block => {
                let (major, minor) = (header.device_major(), header.device_minor());
                (major.map_err(LayerError::Tar)?.unwrap_or(0), minor.map_err(LayerError::Tar)?.unwrap_or(0))
            }
            _ => (0, 0),
        };
        Ok(Self {
            path: entry.path().map_err(LayerError::Tar)?.into_owned(),
            kind: header.entry_type(),
            mode: Mode::from_bits_truncate(header.mode().map_err(LayerError::Tar)? & 0o7777),
            uid: number(header.uid())?,
            gid: number(header.gid())?,
            device,
            target: entry.link_name().map_err(LayerError::Tar)?.map(|target| target.into_owned()),
            mtime,
            xattrs,
        })
    }

    fn create<R: Read>(
        &self,
        place: &Place,
        root: &OwnedFd,
        contents: &mut Entry<'_, R>,
        stats: &mut LayerStats,
    ) -> io::Result<()> {
        place.clear(self.kind == EntryType::Directory)?;
        let (at, name) = (&place.parent, &place.name);
        match self.kind {
            EntryType::Regular | EntryType::Continuous => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)?);
                let wanted = contents.size();
                let copied = io::copy(contents, &mut file)?;
                if copied != wanted {
                    return Err(io::Error::other(format!("{copied} bytes of {wanted} are there")));
                }
                stats.bytes += copied;
            }
            EntryType::Directory => match rustix::fs::mkdirat(at, name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            },
            EntryType::Symlink => rustix::fs::symlinkat(self.need_target()?, at, name)?,
            EntryType::Link => {
                let first = Place::of(root, self.need_target()?).map_err(io::Error::other)?;
                // Owner, mode and attributes are the file's own, set with its first name.
                return Ok(rustix::fs::linkat(&first.parent, &first.name, at, name, AtFlags::empty())?);
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let kind = match self.kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(self.device.0, self.device.1);
                rustix::fs::mknodat(at, name, kind, Mode::RUSR | Mode::WUSR, device)?;
                stats.whiteouts += u64::from(self.kind == EntryType::Char && device == 0);
            }
            other => return Err(io::Error::other(format!("entries of kind {:?} are not made by pack", other.as_byte()))),
        }
        self.set_attributes(place)
    }

    fn need_target(&self) -> io::Result<&Path> {
        self.target.as_deref().ok_or_else(|| io::Error::other("a link without a target"))
    }

    /// Owner first: changing it clears the set-user-id bit and file capabilities.
    fn set_attributes(&self, place: &Place) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(&place.parent, &place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if self.kind != EntryType::Symlink {
            rustix::fs::chmodat(&place.parent, &place.name, self.mode, AtFlags::empty())?;
        }
        for (name, value) in &self.xattrs {
            rustix::fs::lsetxattr(place.path(), name.as_slice(), value, XattrFlags::empty())?;
        }
        Ok(())
    }

    fn set_time(&self, place: &Place) -> io::Result<()> {
        let times = Timestamps { last_access: self.mtime, last_modification: self.mtime };
        Ok(rustix::fs::utimensat(&place.parent, &place.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// `SECONDS.NANOSECONDS`, as pack writes it: nine digits.
fn parse_time(text: &[u8]) -> Option<Timespec> {
    let (seconds, nanoseconds) = std::str::from_utf8(text).ok()?.split_once('.')?;
    let tv_nsec = nanoseconds.parse().ok().filter(|ns| (0..1_000_000_000).contains(ns))?;
    Some(Timespec { tv_sec: seconds.parse().ok()?, tv_nsec })
}
