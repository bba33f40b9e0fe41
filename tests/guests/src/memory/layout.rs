//! Moving, protecting and cutting mappings.

use super::map::{Map, PAGE};
use crate::kit::{Chain, Result, signal};
use crate::signal::{read_guarded, recover, write_guarded};

/// `mremap` grows in place or by moving, shrinks, and moves to an address; the bytes come along.
pub fn remap(chain: &mut Chain) -> Result {
    let mut map = Map::zeros(4 * PAGE)?;
    let data = chain.data(4 * PAGE);
    map.put(0, &data);
    let barrier = map.at(4 * PAGE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // Whether or not the next page was free, it is taken now.
    let taken = plain!(mmap(barrier.cast(), PAGE, libc::PROT_NONE, flags, -1, 0));
    fails!(ENOMEM, mremap(map.start().cast(), 4 * PAGE, 8 * PAGE, 0))?;
    let moved = sys!(mremap(map.start().cast(), 4 * PAGE, 64 * PAGE, libc::MREMAP_MAYMOVE))?;
    map.moved(moved, 64 * PAGE);
    check_eq!(map.bytes(0..4 * PAGE), &data[..], "bytes after growing");
    check!(map.bytes(4 * PAGE..64 * PAGE).iter().all(|&byte| byte == 0), "new bytes are not zero");
    chain.num(moved as usize);
    let small = sys!(mremap(map.start().cast(), 64 * PAGE, 2 * PAGE, 0))?;
    check_eq!(small, moved, "address after shrinking");
    map.moved(small, 2 * PAGE);
    let target = Map::zeros(2 * PAGE)?;
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let at = sys!(mremap(map.start().cast(), 2 * PAGE, 2 * PAGE, flags, target.start()))?;
    check_eq!(at, target.start().cast(), "address that was asked for");
    check_eq!(target.bytes(0..2 * PAGE), &data[..2 * PAGE], "bytes at their new place");
    chain.bytes(target.bytes(0..2 * PAGE));
    fails!(EFAULT, mremap(map.start().cast(), 2 * PAGE, 4 * PAGE, libc::MREMAP_MAYMOVE))?;
    if taken != libc::MAP_FAILED {
        sys!(munmap(taken, PAGE))?;
    }
    map.moved(std::ptr::null_mut(), 0);
    Ok(())
}

/// Protection is enforced page by page; a handler that changes it lets the program go on.
pub fn protect(chain: &mut Chain) -> Result {
    signal::install(libc::SIGSEGV, recover, 0)?;
    let mut map = Map::zeros(8 * PAGE)?;
    map.put(0, &chain.data(8 * PAGE));
    sys!(mprotect(map.at(2 * PAGE).cast(), 2 * PAGE, libc::PROT_READ))?;
    sys!(mprotect(map.at(5 * PAGE).cast(), PAGE, libc::PROT_NONE))?;
    let word = |page: usize| map.at(page * PAGE).cast::<u64>();
    for page in 0..8 {
        let readable = read_guarded(word(page));
        check_eq!(readable.is_some(), page != 5, "a read of page {page}");
        let writable = readable.is_some_and(|value| write_guarded(word(page), value ^ 1));
        check_eq!(writable, ![2, 3, 5].contains(&page), "a write to page {page}");
        chain.num(readable.unwrap_or(0));
    }
    let faults: Vec<_> = signal::take(chain).iter().map(|one| one.from as usize).collect();
    check_eq!(faults, [2, 3, 5].map(|page| word(page) as usize), "addresses of the faults");
    sys!(mprotect(map.start().cast(), 8 * PAGE, libc::PROT_READ | libc::PROT_WRITE))?;
    check!((0..8).all(|page| write_guarded(word(page), 5)), "a write after all was allowed");
    chain.bytes(map.bytes(0..8 * PAGE));
    sys!(munmap(map.at(4 * PAGE).cast(), PAGE))?;
    fails!(ENOMEM, mprotect(map.start().cast(), 8 * PAGE, libc::PROT_READ))
}

/// Pages are taken out of the middle; what is left stays, what is gone faults.
pub fn parts(chain: &mut Chain) -> Result {
    signal::install(libc::SIGSEGV, recover, 0)?;
    let mut map = Map::zeros(9 * PAGE)?;
    map.put(0, &chain.data(9 * PAGE));
    for page in [1, 4, 5, 8] {
        sys!(munmap(map.at(page * PAGE).cast(), PAGE))?;
    }
    sys!(munmap(map.at(4 * PAGE).cast(), PAGE))?;
    for page in 0..9 {
        let word = read_guarded(map.at(page * PAGE).cast());
        check_eq!(word.is_none(), [1, 4, 5, 8].contains(&page), "page {page}");
        chain.num(word.unwrap_or(0));
    }
    fails!(EINVAL, munmap(map.at(1).cast(), PAGE))?;
    signal::take(chain);
    Ok(())
}

/// Memory that grows into a guard page by a handler which opens the next one: 40 pages, 40 faults.
pub fn guards(chain: &mut Chain) -> Result {
    signal::install(libc::SIGSEGV, recover, libc::SA_NODEFER)?;
    let map = Map::new(40 * PAGE, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1, 0)?;
    for page in 0..40 {
        let word = map.at(page * PAGE + 8).cast::<u64>();
        check!(!write_guarded(word, 1), "page {page} is open");
        sys!(mprotect(map.at(page * PAGE).cast(), PAGE, libc::PROT_READ | libc::PROT_WRITE))?;
        check!(write_guarded(word, chain.below(u64::MAX)), "page {page} is closed");
    }
    chain.bytes(map.bytes(0..40 * PAGE));
    check_eq!(signal::take(chain).len(), 40, "faults");
    Ok(())
}
