//! Mapped files.

use super::map::{Map, PAGE};
use crate::kit::{Chain, Result, WorkDir, fd};

const BOTH: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// A private mapping shows the file, keeps its own changes to itself, and its last page ends in zeros.
pub fn private_file(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let data = chain.data(3 * PAGE - 1000);
    fd::write_all(file, &data)?;
    let mut map = Map::new(3 * PAGE, BOTH, libc::MAP_PRIVATE, file, 0)?;
    check_eq!(map.bytes(0..data.len()), &data[..], "mapped bytes");
    check!(map.bytes(data.len()..3 * PAGE).iter().all(|&byte| byte == 0), "bytes behind the file's end");
    map.put(100, b"changed in memory");
    check!(std::fs::read("file")? == data, "the file changed");
    // Pages that were not written still follow the file or not, which is not defined; those that were do not.
    sys!(pwrite(file, b"changed in the file".as_ptr().cast(), 19, 100))?;
    check_eq!(map.bytes(100..117), b"changed in memory", "a page of one's own");
    let tail = Map::new(PAGE, libc::PROT_READ, libc::MAP_PRIVATE, file, PAGE as i64)?;
    check_eq!(tail.bytes(0..PAGE), &data[PAGE..2 * PAGE], "a mapping with an offset");
    fd::close(file)?;
    chain.bytes(map.bytes(0..3 * PAGE));
    let exe = fd::open(c"/proc/self/exe", libc::O_RDONLY)?;
    let program = Map::new(PAGE, libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE, exe, 0)?;
    check_eq!(program.bytes(0..4), b"\x7fELF", "this program");
    fails!(EACCES, mmap(std::ptr::null_mut(), PAGE, BOTH, libc::MAP_SHARED, exe, 0))?;
    fails!(EINVAL, mmap(std::ptr::null_mut(), PAGE, BOTH, libc::MAP_PRIVATE, exe, 100))?;
    fd::close(exe)
}

/// A shared mapping and the file are one: writes to either are seen by the other, and `msync` succeeds.
pub fn shared_file(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    sys!(ftruncate(file, 4 * PAGE as i64))?;
    let mut map = Map::new(4 * PAGE, BOTH, libc::MAP_SHARED, file, 0)?;
    let other = Map::new(4 * PAGE, libc::PROT_READ, libc::MAP_SHARED, file, 0)?;
    for at in [0, 5000, 4 * PAGE - 300] {
        let data = chain.data(300);
        map.put(at, &data);
        let mut bytes = [0; 300];
        check_eq!(sys!(pread(file, bytes.as_mut_ptr().cast(), 300, at as i64))?, 300, "bytes of the file");
        check_eq!(bytes[..], data, "bytes of the file at {at}");
        check_eq!(other.bytes(at..at + 300), &data[..], "bytes of another mapping");
        let data = chain.data(200);
        check_eq!(sys!(pwrite(file, data.as_ptr().cast(), 200, at as i64))?, 200, "bytes written");
        check_eq!(map.bytes(at..at + 200), &data[..], "bytes of the mapping at {at}");
    }
    sys!(msync(map.start().cast(), 4 * PAGE, libc::MS_SYNC))?;
    chain.bytes(other.bytes(0..4 * PAGE));
    fd::close(file)?;
    map.put(10, b"after the close");
    check_eq!(std::fs::read("file")?[10..25], *b"after the close", "the file after the descriptor was closed");
    Ok(())
}

/// /dev/zero maps as anonymous memory.
pub fn device(chain: &mut Chain) -> Result {
    let zero = fd::open(c"/dev/zero", libc::O_RDWR)?;
    let mut map = Map::new(2 * PAGE, BOTH, libc::MAP_PRIVATE, zero, 0)?;
    fd::close(zero)?;
    check!(map.bytes(0..2 * PAGE).iter().all(|&byte| byte == 0), "the device maps something else");
    map.put(PAGE, &chain.data(50));
    chain.bytes(map.bytes(0..2 * PAGE));
    let null = fd::open(c"/dev/null", libc::O_RDWR)?;
    fails!(ENODEV, mmap(std::ptr::null_mut(), PAGE, BOTH, libc::MAP_PRIVATE, null, 0))?;
    fd::close(null)
}
