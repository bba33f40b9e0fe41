//! Sizes.

use crate::kit::{Chain, Result, WorkDir, fd, unsupported, zero};

fn stat(file: i32) -> Result<libc::stat> {
    let mut stat: libc::stat = zero();
    sys!(fstat(file, &raw mut stat))?;
    Ok(stat)
}

/// Shrinking loses bytes, growing adds zeros, the offset stays.
pub fn truncate(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let data = chain.data(10_000);
    fd::write_all(file, &data)?;
    sys!(ftruncate(file, 3000))?;
    check_eq!(stat(file)?.st_size, 3000, "size");
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 10_000, "offset");
    sys!(truncate(c"file".as_ptr(), 8000))?;
    let bytes = std::fs::read("file")?;
    check_eq!(bytes[..3000], data[..3000], "bytes that stayed");
    check!(bytes.len() == 8000 && bytes[3000..].iter().all(|&byte| byte == 0), "the rest is not zeros");
    chain.bytes(&bytes);
    fails!(EINVAL, ftruncate(file, -1))?;
    fails!(ENOENT, truncate(c"none".as_ptr(), 0))?;
    let reader = fd::open(c"file", libc::O_RDONLY)?;
    fails!(EINVAL, ftruncate(reader, 0))?;
    fd::close_all(&[file, reader])
}

/// Space is reserved, with and without growing; a punched hole reads as zeros; a zeroed range too.
pub fn fallocate(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    sys!(fallocate(file, 0, 0, 20_000))?;
    check_eq!(stat(file)?.st_size, 20_000, "size");
    let data = chain.data(20_000);
    fd::write_all(file, &data)?;
    sys!(fallocate(file, libc::FALLOC_FL_KEEP_SIZE, 20_000, 100_000))?;
    check_eq!(stat(file)?.st_size, 20_000, "size with KEEP_SIZE");
    chain.num(stat(file)?.st_blocks);
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    if plain!(fallocate(file, punch, 4096, 8192)) == -1 {
        unsupported("holes")?;
    } else {
        let bytes = std::fs::read("file")?;
        check!(bytes[4096..12_288].iter().all(|&byte| byte == 0), "the hole has bytes");
        check_eq!(bytes[..4096], data[..4096], "bytes before the hole");
        check_eq!(bytes[12_288..], data[12_288..], "bytes behind the hole");
        chain.bytes(&bytes);
    }
    fails!(EINVAL, fallocate(file, 0, -5, 10))?;
    fd::close(file)
}
