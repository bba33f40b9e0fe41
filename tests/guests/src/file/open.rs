//! Opening.

use crate::kit::{Chain, Result, WorkDir, fd, unsupported, zero};

/// Each flag of `open` does what it says.
pub fn flags(chain: &mut Chain) -> Result {
    let dir = WorkDir::enter()?;
    let data = chain.data(50);
    fails!(ENOENT, open(c"file".as_ptr(), libc::O_RDWR))?;
    let file = fd::open(c"file", libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)?;
    fd::write_all(file, &data)?;
    fails!(EEXIST, open(c"file".as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600))?;
    let again = fd::open(c"file", libc::O_RDONLY | libc::O_CREAT)?;
    check_eq!(fd::read_to_end(again)?, data, "bytes by a second descriptor");
    fails!(EBADF, write(again, data.as_ptr().cast(), 1))?;
    let short = fd::open(c"file", libc::O_WRONLY | libc::O_TRUNC)?;
    check_eq!(sys!(lseek(file, 0, libc::SEEK_END))?, 0, "size after O_TRUNC");
    fails!(EBADF, read(short, [0u8; 4].as_mut_ptr().cast(), 4))?;
    fails!(ENOTDIR, open(c"file".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY))?;
    fails!(EISDIR, open(c".".as_ptr(), libc::O_WRONLY))?;
    std::os::unix::fs::symlink("file", "link")?;
    fails!(ELOOP, open(c"link".as_ptr(), libc::O_RDONLY | libc::O_NOFOLLOW))?;
    let path = fd::open(c"link", libc::O_PATH | libc::O_NOFOLLOW)?;
    fails!(EBADF, read(path, [0u8; 4].as_mut_ptr().cast(), 4))?;
    let mut stat: libc::stat = zero();
    sys!(fstat(path, &raw mut stat))?;
    check_eq!(stat.st_mode & libc::S_IFMT, libc::S_IFLNK, "type behind O_PATH");
    let made = sys!(creat(c"made".as_ptr(), 0o640))?;
    sys!(fstat(made, &raw mut stat))?;
    chain.num(stat.st_mode);
    let nameless = plain!(open(c".".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600));
    if nameless == -1 {
        unsupported("O_TMPFILE")?;
    } else {
        fd::write_all(nameless, &data)?;
        check_eq!(std::fs::read_dir(dir.path())?.count(), 3, "names in the directory");
        fd::close(nameless)?;
    }
    chain.bytes(&data);
    fd::close_all(&[file, again, short, path, made])
}

/// `openat` from a directory descriptor, wherever the current directory is; `openat2` refuses to leave it.
pub fn at(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    sys!(mkdir(c"below".as_ptr(), 0o755))?;
    let below = fd::open(c"below", libc::O_RDONLY | libc::O_DIRECTORY)?;
    let file = sys!(openat(below, c"file".as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600))?;
    let data = chain.data(30);
    fd::write_all(file, &data)?;
    sys!(chdir(c"/".as_ptr()))?;
    let again = sys!(openat(below, c"file".as_ptr(), libc::O_RDONLY))?;
    check_eq!(fd::read_to_end(again)?, data, "bytes by a second descriptor");
    chain.bytes(&data);
    fails!(EBADF, openat(-1, c"file".as_ptr(), libc::O_RDONLY))?;
    fails!(ENOTDIR, openat(again, c"file".as_ptr(), libc::O_RDONLY))?;
    let how = [libc::O_RDONLY as u64, 0, libc::RESOLVE_BENEATH];
    let inside = plain!(syscall(libc::SYS_openat2, below, c"file".as_ptr(), how.as_ptr(), 24));
    if inside == -1 {
        unsupported("openat2")?;
    } else {
        check_eq!(fd::read_to_end(inside as i32)?, data, "bytes by openat2");
        fails!(EXDEV, syscall(libc::SYS_openat2, below, c"../below/file".as_ptr(), how.as_ptr(), 24))?;
        fd::close(inside as i32)?;
    }
    fd::close_all(&[below, file, again])
}
