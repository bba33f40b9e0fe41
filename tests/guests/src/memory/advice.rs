//! Advice, locking, residence.

use super::map::{Map, PAGE};
use crate::kit::process::{fork, join_code};
use crate::kit::{Chain, Result, WorkDir, fd, zero};

/// MADV_DONTNEED makes anonymous pages zero and private file pages the file's again; other advice changes nothing.
pub fn madvise(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let mut map = Map::zeros(6 * PAGE)?;
    let data = chain.data(6 * PAGE);
    map.put(0, &data);
    for advice in [libc::MADV_SEQUENTIAL, libc::MADV_RANDOM, libc::MADV_WILLNEED, libc::MADV_NORMAL, libc::MADV_DONTDUMP] {
        sys!(madvise(map.start().cast(), 6 * PAGE, advice))?;
    }
    check_eq!(map.bytes(0..6 * PAGE), &data[..], "bytes after advice");
    sys!(madvise(map.at(PAGE).cast(), 2 * PAGE, libc::MADV_DONTNEED))?;
    check!(map.bytes(PAGE..3 * PAGE).iter().all(|&byte| byte == 0), "pages that were not needed are not zero");
    check_eq!(map.bytes(3 * PAGE..6 * PAGE), &data[3 * PAGE..], "the other pages");
    let file = fd::create(c"file")?;
    fd::write_all(file, &data)?;
    let mut mapped = Map::new(6 * PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE, file, 0)?;
    mapped.put(0, &[9; 100]);
    sys!(madvise(mapped.start().cast(), PAGE, libc::MADV_DONTNEED))?;
    check_eq!(mapped.bytes(0..PAGE), &data[..PAGE], "a page of the file");
    chain.bytes(map.bytes(0..6 * PAGE));
    fails!(EINVAL, madvise(map.start().cast(), PAGE, 999))?;
    fails!(EINVAL, madvise(map.at(1).cast(), PAGE, libc::MADV_NORMAL))?;
    fd::close(file)
}

/// Few pages can be locked by anybody; a child does not inherit the locks, and the limit is kept.
pub fn mlock(chain: &mut Chain) -> Result {
    let mut map = Map::zeros(64 * PAGE)?;
    map.put(0, &chain.data(2 * PAGE));
    sys!(mlock(map.start().cast(), 4 * PAGE))?;
    let locked = || -> Result<u64> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap_or_default();
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    };
    check_eq!(locked()?, 16, "locked kilobytes");
    join_code(fork(|| Ok(locked()? as i32))?, 0)?;
    join_code(
        fork(|| {
            let limit = libc::rlimit { rlim_cur: 8 * PAGE as u64, rlim_max: 8 * PAGE as u64 };
            sys!(setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit))?;
            let refused = plain!(mlock(map.start().cast(), 64 * PAGE)) == -1;
            // A privileged process has no limit.
            Ok(i32::from(refused) + 10)
        })?,
        if plain!(geteuid()) == 0 && has_ipc_lock()? { 10 } else { 11 },
    )?;
    sys!(munlock(map.start().cast(), 4 * PAGE))?;
    check_eq!(locked()?, 0, "locked kilobytes at last");
    chain.bytes(map.bytes(0..2 * PAGE));
    Ok(())
}

fn has_ipc_lock() -> Result<bool> {
    let mut header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    raw!(SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr())?;
    Ok(sets[0] & (1 << 14) != 0)
}

/// Pages that were touched are in memory; which of a file's are is the kernel's business, and in the chain.
pub fn residence(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let mut map = Map::zeros(8 * PAGE)?;
    sys!(madvise(map.start().cast(), 8 * PAGE, libc::MADV_NOHUGEPAGE)).or_else(|_| Result::Ok(0))?;
    for page in [0, 3, 7] {
        map.put(page * PAGE, b"touched");
    }
    let mut present = [0u8; 8];
    sys!(mincore(map.start().cast(), 8 * PAGE, present.as_mut_ptr()))?;
    check!([0, 3, 7].into_iter().all(|page: usize| present[page] & 1 == 1), "pages in memory: {present:?}");
    chain.bytes(&present);
    let file = fd::create(c"file")?;
    fd::write_all(file, &chain.data(8 * PAGE))?;
    let mapped = Map::new(8 * PAGE, libc::PROT_READ, libc::MAP_SHARED, file, 0)?;
    sys!(mincore(mapped.start().cast(), 8 * PAGE, present.as_mut_ptr()))?;
    chain.bytes(&present);
    sys!(msync(mapped.start().cast(), 8 * PAGE, libc::MS_ASYNC))?;
    fails!(EINVAL, msync(mapped.start().cast(), PAGE, 0x100))?;
    let mut usage: libc::rusage = zero();
    sys!(getrusage(libc::RUSAGE_SELF, &raw mut usage))?;
    chain.num(usage.ru_minflt);
    fd::close(file)
}
