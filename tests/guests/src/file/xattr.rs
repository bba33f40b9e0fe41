//! Extended attributes.

use std::ptr::null_mut;

use crate::kit::{Chain, Result, WorkDir, fd, unsupported};

/// Attributes are set, listed, read and removed, by name and by descriptor.
pub fn xattr(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let value = chain.data(100);
    if plain!(setxattr(c"file".as_ptr(), c"user.one".as_ptr(), value.as_ptr().cast(), value.len(), libc::XATTR_CREATE)) == -1 {
        return unsupported("extended attributes of users");
    }
    fails!(EEXIST, setxattr(c"file".as_ptr(), c"user.one".as_ptr(), b"x".as_ptr().cast(), 1, libc::XATTR_CREATE))?;
    fails!(ENODATA, setxattr(c"file".as_ptr(), c"user.two".as_ptr(), b"x".as_ptr().cast(), 1, libc::XATTR_REPLACE))?;
    sys!(fsetxattr(file, c"user.two".as_ptr(), b"second".as_ptr().cast(), 6, 0))?;
    let mut buffer = [0u8; 256];
    check_eq!(sys!(getxattr(c"file".as_ptr(), c"user.one".as_ptr(), null_mut(), 0))?, 100, "length");
    let got = sys!(fgetxattr(file, c"user.one".as_ptr(), buffer.as_mut_ptr().cast(), 256))? as usize;
    check_eq!(buffer[..got], value, "value");
    chain.bytes(&buffer[..got]);
    fails!(ERANGE, lgetxattr(c"file".as_ptr(), c"user.one".as_ptr(), buffer.as_mut_ptr().cast(), 10))?;
    let len = sys!(listxattr(c"file".as_ptr(), buffer.as_mut_ptr().cast(), 256))? as usize;
    let mut names: Vec<&[u8]> = buffer[..len].split(|&byte| byte == 0).filter(|name| name.starts_with(b"user.")).collect();
    names.sort_unstable();
    check_eq!(names, [b"user.one", b"user.two"], "names");
    sys!(removexattr(c"file".as_ptr(), c"user.one".as_ptr()))?;
    fails!(ENODATA, fgetxattr(file, c"user.one".as_ptr(), null_mut(), 0))?;
    sys!(fremovexattr(file, c"user.two".as_ptr()))?;
    chain.num(sys!(flistxattr(file, null_mut(), 0))?);
    fd::close(file)
}
