//! What a child shares and what not. Nobody waits on shared memory: a child's exit comes before the parent's look.

use super::map::{Map, PAGE};
use crate::kit::process::{fork, join, join_code};
use crate::kit::{Chain, Result, fd};

const BOTH: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Private memory is copied when it is written: neither sees the other's changes.
pub fn copy_on_write(chain: &mut Chain) -> Result {
    let mut map = Map::zeros(64 * PAGE)?;
    let data = chain.data(64 * PAGE);
    map.put(0, &data);
    let (read, write) = fd::pipe()?;
    let (go_read, go_write) = fd::pipe()?;
    let child = fork(|| {
        fd::read_exact(go_read, 1)?;
        check_eq!(map.bytes(0..64 * PAGE), &data[..], "the child's bytes after the parent wrote");
        let mine = fd::random(32 * PAGE)?;
        map.put(0, &mine);
        check_eq!(map.bytes(32 * PAGE..64 * PAGE), &data[32 * PAGE..], "pages that nobody of us wrote");
        fd::write_all(write, map.bytes(0..PAGE))?;
        Ok(0)
    })?;
    let own = chain.data(16 * PAGE);
    map.put(0, &own);
    fd::write_all(go_write, b"!")?;
    let theirs = fd::read_exact(read, PAGE)?;
    join(child)?;
    check_eq!(map.bytes(0..16 * PAGE), &own[..], "the parent's bytes");
    check_eq!(map.bytes(16 * PAGE..64 * PAGE), &data[16 * PAGE..], "pages that only the child wrote");
    chain.bytes(&theirs);
    fd::close_all(&[read, write, go_read, go_write])
}

/// A shared anonymous mapping is one memory for parent and children.
pub fn shared_mapping(chain: &mut Chain) -> Result {
    let mut map = Map::new(8 * PAGE, BOTH, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)?;
    for round in 0..8 {
        let data = chain.data(100);
        map.put(round * PAGE, &data);
        join(fork(|| {
            let sum = map.bytes(0..8 * PAGE).iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
            map.put(round * PAGE + 200, &sum.to_le_bytes());
            map.put(round * PAGE + 300, &fd::random(16)?);
            Ok(0)
        })?)?;
        check_eq!(map.bytes(round * PAGE..round * PAGE + 100), &data[..], "the parent's bytes");
        check!(map.bytes(round * PAGE + 200..round * PAGE + 208) != [0; 8], "the child's sum is not there");
        chain.bytes(map.bytes(round * PAGE..round * PAGE + 400));
    }
    Ok(())
}

/// MADV_WIPEONFORK gives a child zeros, MADV_DONTFORK nothing at all.
pub fn wiped(chain: &mut Chain) -> Result {
    let (mut wiped, mut absent) = (Map::zeros(PAGE)?, Map::zeros(PAGE)?);
    wiped.put(0, &chain.data(100));
    absent.put(0, &chain.data(100));
    sys!(madvise(wiped.start().cast(), PAGE, libc::MADV_WIPEONFORK))?;
    sys!(madvise(absent.start().cast(), PAGE, libc::MADV_DONTFORK))?;
    let child = fork(|| {
        check!(wiped.bytes(0..PAGE).iter().all(|&byte| byte == 0), "the page was not wiped");
        crate::kit::signal::install(libc::SIGSEGV, crate::signal::recover, 0)?;
        Ok(i32::from(crate::signal::read_guarded(absent.start().cast()).is_none()))
    })?;
    join_code(child, 1)?;
    chain.bytes(wiped.bytes(0..PAGE));
    chain.bytes(absent.bytes(0..PAGE));
    Ok(())
}
