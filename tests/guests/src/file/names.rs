//! Names.

use crate::kit::{Chain, Result, WorkDir, fd, zero};

fn stat(path: &std::ffi::CStr) -> Result<libc::stat> {
    let mut stat: libc::stat = zero();
    sys!(lstat(path.as_ptr(), &raw mut stat))?;
    Ok(stat)
}

/// `rename` replaces, `renameat2` refuses or exchanges when told; the file behind the name stays the same.
pub fn rename(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let (one, two) = (chain.data(20), chain.data(30));
    std::fs::write("one", &one)?;
    std::fs::write("two", &two)?;
    let number = stat(c"one")?.st_ino;
    let held = fd::open(c"two", libc::O_RDONLY)?;
    sys!(rename(c"one".as_ptr(), c"two".as_ptr()))?;
    check_eq!(std::fs::read("two")?, one, "what has the name");
    check_eq!(stat(c"two")?.st_ino, number, "inode number");
    check_eq!(fd::read_to_end(held)?, two, "what was replaced, by an open descriptor");
    fails!(ENOENT, rename(c"one".as_ptr(), c"three".as_ptr()))?;
    std::fs::write("three", b"3")?;
    let at = libc::AT_FDCWD;
    fails!(EEXIST, syscall(libc::SYS_renameat2, at, c"two".as_ptr(), at, c"three".as_ptr(), libc::RENAME_NOREPLACE))?;
    raw!(SYS_renameat2, at, c"two".as_ptr(), at, c"three".as_ptr(), libc::RENAME_EXCHANGE)?;
    check_eq!(std::fs::read("three")?, one, "what was exchanged");
    sys!(mkdir(c"dir".as_ptr(), 0o755))?;
    sys!(mkdir(c"dir/inner".as_ptr(), 0o755))?;
    fails!(EINVAL, rename(c"dir".as_ptr(), c"dir/inner/dir".as_ptr()))?;
    fails!(EISDIR, rename(c"two".as_ptr(), c"dir".as_ptr()))?;
    sys!(renameat(at, c"two".as_ptr(), at, c"dir/two".as_ptr()))?;
    check_eq!(std::fs::read("dir/two")?, b"3", "what moved below");
    chain.bytes(&one);
    chain.num(number);
    fd::close(held)
}

/// Hard links share a file, symbolic links a name.
pub fn links(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let data = chain.data(40);
    std::fs::write("file", &data)?;
    sys!(link(c"file".as_ptr(), c"hard".as_ptr()))?;
    check_eq!((stat(c"hard")?.st_ino, stat(c"file")?.st_nlink), (stat(c"file")?.st_ino, 2), "inode number and links");
    sys!(symlink(c"file".as_ptr(), c"soft".as_ptr()))?;
    sys!(symlinkat(c"nowhere".as_ptr(), libc::AT_FDCWD, c"dangling".as_ptr()))?;
    let mut target = [0u8; 64];
    for (name, wanted) in [(c"soft", "file"), (c"dangling", "nowhere")] {
        let len = sys!(readlink(name.as_ptr(), target.as_mut_ptr().cast(), 64))? as usize;
        check_eq!(&target[..len], wanted.as_bytes(), "target of {name:?}");
        chain.bytes(&target[..len]);
    }
    check_eq!(sys!(readlink(c"dangling".as_ptr(), target.as_mut_ptr().cast(), 3))?, 3, "bytes of a cut target");
    fails!(EINVAL, readlink(c"file".as_ptr(), target.as_mut_ptr().cast(), 64))?;
    fails!(ENOENT, open(c"dangling".as_ptr(), libc::O_RDONLY))?;
    fails!(EEXIST, link(c"file".as_ptr(), c"soft".as_ptr()))?;
    let file = fd::open(c"soft", libc::O_WRONLY | libc::O_APPEND)?;
    fd::write_all(file, b"more")?;
    check_eq!(std::fs::read("hard")?, [&data[..], b"more"].concat(), "bytes by the other name");
    sys!(unlink(c"file".as_ptr()))?;
    fails!(ENOENT, access(c"soft".as_ptr(), libc::F_OK))?;
    check_eq!(stat(c"hard")?.st_nlink, 1, "links");
    chain.num(stat(c"hard")?.st_ino);
    fd::close(file)
}

/// A file without a name lives as long as a descriptor does, and its name can be used again.
pub fn unlinked(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let data = chain.data(5000);
    fd::write_all(file, &data)?;
    sys!(unlink(c"file".as_ptr()))?;
    fails!(ENOENT, unlink(c"file".as_ptr()))?;
    let other = fd::create(c"file")?;
    fd::write_all(other, b"other")?;
    fd::write_all(file, b"end")?;
    sys!(lseek(file, 0, libc::SEEK_SET))?;
    let got = fd::read_to_end(file)?;
    check_eq!(got, [&data[..], b"end"].concat(), "bytes of the nameless file");
    let mut stat: libc::stat = zero();
    sys!(fstat(file, &raw mut stat))?;
    check_eq!((stat.st_nlink, stat.st_size), (0, 5003), "links and size");
    check_eq!(std::fs::read("file")?, b"other", "the new file of that name");
    chain.bytes(&got);
    fd::close_all(&[file, other])
}
