//! Directories.

use std::collections::BTreeSet;

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, WorkDir, fd};

/// Making and removing.
pub fn directories(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    sys!(mkdir(c"a".as_ptr(), 0o755))?;
    sys!(mkdirat(libc::AT_FDCWD, c"a/b".as_ptr(), 0o700))?;
    fails!(EEXIST, mkdir(c"a".as_ptr(), 0o755))?;
    fails!(ENOENT, mkdir(c"x/y".as_ptr(), 0o755))?;
    fails!(ENOTEMPTY, rmdir(c"a".as_ptr()))?;
    fails!(EISDIR, unlink(c"a/b".as_ptr()))?;
    let below = fd::open(c"a/b", libc::O_RDONLY | libc::O_DIRECTORY)?;
    sys!(unlinkat(libc::AT_FDCWD, c"a/b".as_ptr(), libc::AT_REMOVEDIR))?;
    fails!(ENOENT, mkdirat(below, c"c".as_ptr(), 0o755))?;
    sys!(rmdir(c"a".as_ptr()))?;
    fails!(ENOENT, rmdir(c"a".as_ptr()))?;
    std::fs::create_dir_all("deep/er/and/deeper")?;
    std::fs::write("deep/er/and/file", chain.data(10))?;
    std::fs::remove_dir_all("deep")?;
    fd::close(below)
}

/// All names of a directory by `getdents64` with a small buffer: none is missing or twice, after a rewind neither; the order, the
/// inode numbers and the offsets are the file system's choice.
pub fn getdents(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    sys!(mkdir(c"many".as_ptr(), 0o755))?;
    let mut wanted = BTreeSet::from([".".to_owned(), "..".to_owned()]);
    for number in 0..150 {
        let name = format!("name-{number}-{:x}", chain.below(1 << 20));
        std::fs::write(format!("many/{name}"), b"")?;
        wanted.insert(name);
    }
    let dir = fd::open(c"many", libc::O_RDONLY | libc::O_DIRECTORY)?;
    for _ in 0..2 {
        let mut found = Vec::new();
        let mut buffer = [0u64; 64];
        loop {
            let got = raw!(SYS_getdents64, dir, buffer.as_mut_ptr(), size_of_val(&buffer))? as usize;
            if got == 0 {
                break;
            }
            let bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).take(got).collect();
            let mut at = 0;
            while at < got {
                let len = usize::from(u16::from_ne_bytes([bytes[at + 16], bytes[at + 17]]));
                let name = bytes[at + 19..at + len].split(|&byte| byte == 0).next().unwrap_or_default();
                found.push(String::from_utf8_lossy(name).into_owned());
                // Without the padding behind the name, which the kernel leaves as it was.
                chain.bytes(&bytes[at..at + 19 + name.len()]);
                at += len;
            }
        }
        check_eq!(found.len(), wanted.len(), "names");
        check_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted, "names");
        sys!(lseek(dir, 0, libc::SEEK_SET))?;
    }
    fails!(EINVAL, syscall(libc::SYS_getdents64, dir, [0u64; 2].as_mut_ptr(), 1))?;
    let count = std::fs::read_dir("many")?.count();
    check_eq!(count, 150, "names by the standard library");
    fd::close(dir)
}

/// The current directory: of the process, inherited, left by name and by descriptor, and still there when it is removed.
pub fn working(chain: &mut Chain) -> Result {
    let dir = WorkDir::enter()?;
    let here = || -> Result<String> {
        let mut buffer = [0u8; 4096];
        let len = raw!(SYS_getcwd, buffer.as_mut_ptr(), buffer.len())? as usize;
        Ok(String::from_utf8_lossy(&buffer[..len - 1]).into_owned())
    };
    let base = here()?;
    check!(base.ends_with(dir.path().file_name().and_then(|name| name.to_str()).unwrap_or_default()), "in {base}");
    sys!(mkdir(c"one".as_ptr(), 0o755))?;
    sys!(mkdir(c"two".as_ptr(), 0o755))?;
    let two = fd::open(c"two", libc::O_RDONLY | libc::O_DIRECTORY)?;
    sys!(chdir(c"one".as_ptr()))?;
    check_eq!(here()?, format!("{base}/one"), "after chdir");
    join(fork(|| {
        check_eq!(here()?, format!("{base}/one"), "in a child");
        sys!(fchdir(two))?;
        check_eq!(here()?, format!("{base}/two"), "after fchdir in a child");
        Ok(0)
    })?)?;
    check_eq!(here()?, format!("{base}/one"), "after a child's fchdir");
    sys!(rmdir(c"../one".as_ptr()))?;
    fails!(ENOENT, open(c"file".as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600))?;
    sys!(fchdir(two))?;
    check_eq!(here()?, format!("{base}/two"), "after fchdir");
    fails!(ENOTDIR, chdir(c"/dev/null".as_ptr()))?;
    fails!(ERANGE, syscall(libc::SYS_getcwd, [0u8; 2].as_mut_ptr(), 2))?;
    chain.text(&here()?);
    sys!(chdir(c"..".as_ptr()))?;
    fd::close(two)
}
