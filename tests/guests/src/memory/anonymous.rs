//! Anonymous memory.

use super::map::{Map, PAGE};
use crate::kit::{Chain, Result, signal};

/// Fresh memory is zero, keeps what is written, and comes where the kernel likes: the addresses are in the chain.
pub fn anonymous(chain: &mut Chain) -> Result {
    let mut maps = Vec::new();
    for pages in 1..20 {
        let mut map = Map::zeros(pages * PAGE)?;
        check!(map.bytes(0..pages * PAGE).iter().all(|&byte| byte == 0), "fresh memory is not zero");
        let data = chain.data(100);
        map.put(pages * PAGE - 100, &data);
        chain.num(map.start() as usize);
        maps.push((map, data, pages * PAGE));
    }
    for (map, data, len) in &maps {
        check_eq!(map.bytes(len - 100..*len), &data[..], "bytes");
        chain.bytes(map.bytes(len - 200..*len));
    }
    maps.retain(|(_, _, len)| (len / PAGE).is_multiple_of(2));
    let again = Map::zeros(3 * PAGE)?;
    check!(again.bytes(0..3 * PAGE).iter().all(|&byte| byte == 0), "memory that was used before is not zero");
    chain.num(again.start() as usize);
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    fails!(EINVAL, mmap(std::ptr::null_mut(), 0, libc::PROT_READ, anonymous, -1, 0))?;
    fails!(ENOMEM, mmap(std::ptr::null_mut(), 1 << 60, libc::PROT_READ, anonymous, -1, 0))?;
    fails!(EBADF, mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ, libc::MAP_PRIVATE, -1, 0))
}

/// MAP_FIXED replaces what is there, MAP_FIXED_NOREPLACE refuses, a hint is taken when it is free.
pub fn fixed(chain: &mut Chain) -> Result {
    let mut map = Map::zeros(6 * PAGE)?;
    map.put(0, &vec![7; 6 * PAGE]);
    let both = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let middle = map.at(2 * PAGE);
    check_eq!(sys!(mmap(middle.cast(), 2 * PAGE, both, flags | libc::MAP_FIXED, -1, 0))?, middle.cast(), "address");
    check!(map.bytes(0..2 * PAGE).iter().all(|&byte| byte == 7), "bytes before the replaced pages");
    check!(map.bytes(2 * PAGE..4 * PAGE).iter().all(|&byte| byte == 0), "bytes of the replaced pages");
    check!(map.bytes(4 * PAGE..6 * PAGE).iter().all(|&byte| byte == 7), "bytes behind the replaced pages");
    fails!(EEXIST, mmap(middle.cast(), PAGE, both, flags | libc::MAP_FIXED_NOREPLACE, -1, 0))?;
    sys!(munmap(middle.cast(), PAGE))?;
    let hinted = sys!(mmap(middle.cast(), PAGE, both, flags | libc::MAP_FIXED_NOREPLACE, -1, 0))?;
    check_eq!(hinted, middle.cast(), "address that was free");
    sys!(munmap(middle.cast(), PAGE))?;
    check_eq!(sys!(mmap(middle.cast(), PAGE, both, flags, -1, 0))?, middle.cast(), "address by a hint");
    fails!(EINVAL, mmap(map.at(1).cast(), PAGE, both, flags | libc::MAP_FIXED, -1, 0))?;
    chain.num(middle as usize);
    chain.bytes(map.bytes(0..6 * PAGE));
    Ok(())
}

/// 48 MiB, every page touched with random bytes, in an order that jumps.
pub fn large(chain: &mut Chain) -> Result {
    let pages = (48 << 20) / PAGE;
    let mut map = Map::zeros(pages * PAGE)?;
    let mut sum = 0u64;
    for step in 0..pages {
        // 7919 is prime, so every page is met once.
        let at = step * 7919 % pages * PAGE + chain.below(4000) as usize;
        let word = chain.below(u64::MAX);
        sum = sum.wrapping_add(word);
        map.put(at, &word.to_le_bytes());
    }
    let words = map.bytes(0..pages * PAGE).chunks(PAGE);
    check!(words.clone().all(|page| page.iter().any(|&byte| byte != 0)), "a page is empty");
    chain.num(sum);
    words.step_by(37).for_each(|page| chain.bytes(page));
    check_eq!(signal::count(), 0, "signals");
    Ok(())
}
