//! Attributes of files.

use crate::kit::clock::{SECOND_NS, now};
use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, WorkDir, fd, unsupported, zero};

fn take(stat: &libc::stat, chain: &mut Chain) {
    for value in [stat.st_dev, stat.st_ino, stat.st_nlink, u64::from(stat.st_mode), u64::from(stat.st_uid), stat.st_rdev] {
        chain.num(value);
    }
    for value in [stat.st_size, stat.st_blocks, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec] {
        chain.num(value);
    }
}

/// The `stat` family agrees with itself about a file, a link, a directory, a pipe and a device.
pub fn stat(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let size = 100 + chain.below(1000);
    fd::write_all(file, &chain.data(size as usize))?;
    std::os::unix::fs::symlink("file", "link")?;
    let mut all: [libc::stat; 6] = [zero(), zero(), zero(), zero(), zero(), zero()];
    let [by_fd, by_name, by_link, by_number, link, at] = &mut all;
    sys!(fstat(file, &raw mut *by_fd))?;
    sys!(stat(c"file".as_ptr(), &raw mut *by_name))?;
    sys!(stat(c"link".as_ptr(), &raw mut *by_link))?;
    raw!(SYS_stat, c"file".as_ptr(), &raw mut *by_number)?;
    raw!(SYS_lstat, c"link".as_ptr(), &raw mut *link)?;
    sys!(fstatat(file, c"".as_ptr(), &raw mut *at, libc::AT_EMPTY_PATH))?;
    for other in [&*by_name, &*by_link, &*by_number, &*at] {
        check_eq!(
            (other.st_ino, other.st_size, other.st_mtime_nsec),
            (by_fd.st_ino, size as i64, by_fd.st_mtime_nsec),
            "the file"
        );
    }
    check_eq!((link.st_mode & libc::S_IFMT, link.st_size), (libc::S_IFLNK, 4), "the link");
    check!((now(libc::CLOCK_REALTIME)? / SECOND_NS - by_fd.st_mtime).abs() <= 5, "modified at {}", by_fd.st_mtime);
    all.iter().for_each(|stat| take(stat, chain));
    let (read, write) = fd::pipe()?;
    for (number, kind) in [(read, libc::S_IFIFO), (fd::open(c".", libc::O_RDONLY)?, libc::S_IFDIR)] {
        let mut stat: libc::stat = zero();
        raw!(SYS_fstat, number, &raw mut stat)?;
        check_eq!(stat.st_mode & libc::S_IFMT, kind, "type of {number}");
        take(&stat, chain);
    }
    let mut null: libc::stat = zero();
    sys!(stat(c"/dev/null".as_ptr(), &raw mut null))?;
    check_eq!((null.st_mode & libc::S_IFMT, null.st_rdev), (libc::S_IFCHR, libc::makedev(1, 3)), "/dev/null");
    fails!(ENOENT, stat(c"none".as_ptr(), &raw mut null))?;
    fails!(EBADF, fstat(999, &raw mut null))?;
    fd::close_all(&[file, read, write])
}

/// `statx` agrees with `stat`.
pub fn statx(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    fd::write_all(file, &chain.data(777))?;
    let (mut short, mut long): (libc::stat, libc::statx) = (zero(), zero());
    sys!(fstat(file, &raw mut short))?;
    if plain!(statx(libc::AT_FDCWD, c"file".as_ptr(), 0, libc::STATX_BASIC_STATS | libc::STATX_BTIME, &raw mut long)) == -1 {
        return unsupported("statx");
    }
    check_eq!((long.stx_ino, long.stx_size, u32::from(long.stx_mode)), (short.st_ino, 777, short.st_mode), "number, size, mode");
    check_eq!(long.stx_mtime.tv_nsec, short.st_mtime_nsec as u32, "time");
    check_eq!(libc::makedev(long.stx_dev_major, long.stx_dev_minor), short.st_dev, "device");
    for value in [long.stx_ino, long.stx_blocks, long.stx_attributes, u64::from(long.stx_mask), u64::from(long.stx_blksize)] {
        chain.num(value);
    }
    for time in [long.stx_atime, long.stx_btime, long.stx_ctime, long.stx_mtime] {
        chain.num(time.tv_sec);
        chain.num(time.tv_nsec);
    }
    fd::close(file)
}

/// `access` and its relatives say what an open would; for another user too.
pub fn access(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    std::fs::write("file", b"text")?;
    sys!(chmod(c"file".as_ptr(), 0o400))?;
    sys!(access(c"file".as_ptr(), libc::R_OK))?;
    fails!(EACCES, access(c"file".as_ptr(), libc::X_OK))?;
    fails!(ENOENT, access(c"none".as_ptr(), libc::F_OK))?;
    sys!(faccessat(libc::AT_FDCWD, c"file".as_ptr(), libc::F_OK, 0))?;
    sys!(chmod(c"file".as_ptr(), 0o755))?;
    sys!(faccessat(libc::AT_FDCWD, c"file".as_ptr(), libc::X_OK | libc::W_OK, libc::AT_EACCESS))?;
    let second = plain!(syscall(libc::SYS_faccessat2, libc::AT_FDCWD, c"file".as_ptr(), libc::R_OK, 0));
    chain.num(second);
    if plain!(geteuid()) != 0 {
        return unsupported("access as another user");
    }
    sys!(chmod(c"file".as_ptr(), 0o600))?;
    join(fork(|| {
        sys!(setresgid(4242, 4242, 4242))?;
        sys!(setresuid(4242, 4242, 4242))?;
        // The directory above may be closed to others, which is also EACCES.
        fails!(EACCES, access(c"file".as_ptr(), libc::R_OK))?;
        fails!(EACCES, open(c"file".as_ptr(), libc::O_RDONLY))?;
        Ok(0)
    })?)
}

/// Modes and owners, by name, descriptor and directory; the set-user-id bit is lost with the owner.
pub fn chmod_chown(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let look = || -> Result<(u32, u32, u32)> {
        let mut stat: libc::stat = zero();
        sys!(fstat(file, &raw mut stat))?;
        Ok((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid))
    };
    let (user, group) = (plain!(geteuid()), plain!(getegid()));
    sys!(chmod(c"file".as_ptr(), 0o4751))?;
    check_eq!(look()?, (0o4751, user, group), "after chmod");
    sys!(fchmod(file, 0o640))?;
    check_eq!(look()?.0, 0o640, "after fchmod");
    sys!(fchmodat(libc::AT_FDCWD, c"file".as_ptr(), 0o4711, 0))?;
    check_eq!(look()?.0, 0o4711, "after fchmodat");
    if user == 0 {
        sys!(chown(c"file".as_ptr(), 11, 22))?;
        check_eq!(look()?, (0o711, 11, 22), "after chown");
        sys!(fchown(file, u32::MAX, 33))?;
        check_eq!(look()?, (0o711, 11, 33), "after fchown of the group");
        std::os::unix::fs::symlink("file", "link")?;
        sys!(lchown(c"link".as_ptr(), 44, 44))?;
        sys!(fchownat(libc::AT_FDCWD, c"file".as_ptr(), 55, 66, libc::AT_SYMLINK_NOFOLLOW))?;
        check_eq!(look()?, (0o711, 55, 66), "after fchownat");
    } else {
        unsupported("changing owners")?;
    }
    let (mode, user, group) = look()?;
    [mode, user, group].into_iter().for_each(|value| chain.num(value));
    fd::close(file)
}

/// Times are set exactly, left alone, or taken from the clock.
pub fn utimensat(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let time = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
    let look = || -> Result<[i64; 4]> {
        let mut stat: libc::stat = zero();
        sys!(fstat(file, &raw mut stat))?;
        Ok([stat.st_atime, stat.st_atime_nsec, stat.st_mtime, stat.st_mtime_nsec])
    };
    sys!(utimensat(libc::AT_FDCWD, c"file".as_ptr(), [time(1000, 5), time(2000, 999_999_999)].as_ptr(), 0))?;
    check_eq!(look()?, [1000, 5, 2000, 999_999_999], "times");
    sys!(futimens(file, [time(0, libc::UTIME_OMIT), time(3000, 7)].as_ptr()))?;
    check_eq!(look()?, [1000, 5, 3000, 7], "times with UTIME_OMIT");
    let before = now(libc::CLOCK_REALTIME_COARSE)?;
    sys!(futimens(file, [time(0, libc::UTIME_NOW), time(0, libc::UTIME_OMIT)].as_ptr()))?;
    let [seconds, nanos, ..] = look()?;
    check!(seconds * SECOND_NS + nanos >= before, "UTIME_NOW is before now");
    chain.num(seconds * SECOND_NS + nanos);
    raw!(SYS_utime, c"file".as_ptr(), [111i64, 222].as_ptr())?;
    check_eq!(look()?, [111, 0, 222, 0], "after utime");
    sys!(utimes(c"file".as_ptr(), [crate::kit::clock::timeval(333), crate::kit::clock::timeval(444)].as_ptr()))?;
    check_eq!(look()?, [0, 333_000, 0, 444_000], "after utimes");
    fails!(EINVAL, futimens(file, [time(0, 2_000_000_000), time(0, 0)].as_ptr()))?;
    fd::close(file)
}

/// The mask takes bits from new files and directories; a child inherits it and changes its own.
pub fn umask(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let mode = |path: &std::ffi::CStr| -> Result<u32> {
        let mut stat: libc::stat = zero();
        sys!(stat(path.as_ptr(), &raw mut stat))?;
        Ok(stat.st_mode & 0o777)
    };
    let old = plain!(umask(0o027));
    chain.num(old);
    fd::close(sys!(open(c"file".as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o666))?)?;
    sys!(mkdir(c"dir".as_ptr(), 0o777))?;
    check_eq!((mode(c"file")?, mode(c"dir")?), (0o640, 0o750), "modes");
    join(fork(|| {
        check_eq!(plain!(umask(0o777)), 0o027, "the mask of a child");
        Ok(0)
    })?)?;
    check_eq!(plain!(umask(0)), 0o027, "the mask after a child changed its own");
    sys!(mkdir(c"open".as_ptr(), 0o777))?;
    check_eq!(mode(c"open")?, 0o777, "mode without a mask");
    plain!(umask(old));
    Ok(())
}

/// `statfs` by name and descriptor agree.
pub fn statfs(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let dir = fd::open(c".", libc::O_RDONLY)?;
    let (mut by_name, mut by_fd): (libc::statfs, libc::statfs) = (zero(), zero());
    sys!(statfs(c".".as_ptr(), &raw mut by_name))?;
    sys!(fstatfs(dir, &raw mut by_fd))?;
    check_eq!((by_name.f_type, by_name.f_bsize, by_name.f_blocks), (by_fd.f_type, by_fd.f_bsize, by_fd.f_blocks), "file system");
    check!(by_fd.f_bfree <= by_fd.f_blocks, "{} blocks free of {}", by_fd.f_bfree, by_fd.f_blocks);
    chain.num(by_fd.f_type);
    for value in [by_fd.f_blocks, by_fd.f_bfree, by_fd.f_bavail, by_fd.f_files, by_fd.f_ffree] {
        chain.num(value);
    }
    let mut proc: libc::statfs = zero();
    sys!(statfs(c"/proc".as_ptr(), &raw mut proc))?;
    check_eq!(proc.f_type, libc::PROC_SUPER_MAGIC, "/proc");
    fd::close(dir)
}
