//! Positions and flags of files, directories and devices; flags of everything.

use std::os::fd::BorrowedFd;

use rustix::fs::{OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, fstat, fstatfs, seek, tell};

use super::error::During;
use super::{Kind, Obstacle};
use crate::inodes::Identity;

/// The flags that `F_SETFL` can change.
const CHANGEABLE: OFlags = OFlags::APPEND.union(OFlags::NONBLOCK).union(OFlags::DIRECT).union(OFlags::NOATIME);
/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS: i64 = 0x794c_7630;
/// `TMPFS_MAGIC`.
const TMPFS: i64 = 0x0102_1994;

/// The flags of an open file, as `F_GETFL` gives them.
///
/// # Errors
/// A failing fcntl.
pub(super) fn flags(fd: BorrowedFd<'_>) -> Result<OFlags, Obstacle> {
    fcntl_getfl(fd).during("reading flags")
}

/// Makes the changeable flags those of the source; says whether they were not.
///
/// # Errors
/// A failing fcntl, such as for `O_DIRECT` on a file system that has none.
pub(super) fn restore_flags(fd: BorrowedFd<'_>, wanted: i32) -> Result<bool, Obstacle> {
    let wanted = OFlags::from_bits_retain(wanted as u32);
    let found = flags(fd)?;
    if wanted.contains(OFlags::PATH) || (wanted ^ found).intersection(CHANGEABLE).is_empty() {
        return Ok(false);
    }
    fcntl_setfl(fd, found.difference(CHANGEABLE).union(wanted.intersection(CHANGEABLE))).during("setting flags")?;
    Ok(true)
}

/// The position of an open file; `None` where there is none.
///
/// # Errors
/// A failing lseek.
pub(super) fn capture(fd: BorrowedFd<'_>, flags: OFlags) -> Result<Option<i64>, Obstacle> {
    if flags.contains(OFlags::PATH) {
        return Ok(None);
    }
    match tell(fd) {
        Ok(position) => Ok(i64::try_from(position).ok()),
        Err(rustix::io::Errno::SPIPE | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(error).during("reading the position"),
    }
}

/// Moves an open file to the source's position; says whether it was elsewhere.
///
/// A directory of an overlay is left alone: replay reads it for real, and its positions are the replica's own cookies.
///
/// # Errors
/// A failing lseek.
pub(super) fn restore(fd: BorrowedFd<'_>, kind: &Kind, position: i64) -> Result<bool, Obstacle> {
    if *kind == Kind::Directory && fstatfs(fd).during("reading the file system's type")?.f_type == OVERLAYFS {
        return Ok(false);
    }
    if tell(fd).is_ok_and(|found| found as i64 == position) {
        return Ok(false);
    }
    match seek(fd, SeekFrom::Start(position as u64)) {
        Ok(_) => Ok(true),
        // The stand-in of a device may be one that cannot seek; its position means nothing then.
        Err(rustix::io::Errno::SPIPE) if *kind == Kind::CharDevice => Ok(false),
        Err(error) => Err(error).during("setting the position"),
    }
}

/// The numbers of a regular file or directory of the container's own root, or of a tmpfs; `None` for everything else.
///
/// # Errors
/// A failing fstat or fstatfs.
pub(super) fn identity(fd: BorrowedFd<'_>, kind: &Kind) -> Result<Option<Identity>, Obstacle> {
    if !matches!(kind, Kind::Regular | Kind::Directory)
        || !matches!(fstatfs(fd).during("reading the file system's type")?.f_type, OVERLAYFS | TMPFS)
    {
        return Ok(None);
    }
    let stat = fstat(fd).during("reading a file's numbers")?;
    Ok(Some(Identity { device: stat.st_dev, inode: stat.st_ino }))
}
