//! Files in memory.

use std::ptr::null_mut;

use crate::kit::{Chain, Result, fd};

/// A memfd is a file: written, read, mapped; seals forbid what they say for good.
pub fn memfd(chain: &mut Chain) -> Result {
    let file = sys!(memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING))?;
    let data = chain.data(9000);
    fd::write_all(file, &data)?;
    let map = sys!(mmap(null_mut(), 9000, libc::PROT_READ, libc::MAP_SHARED, file, 0))?;
    // SAFETY: a mapping of 9000 bytes, not written while the slice lives.
    let mapped = unsafe { std::slice::from_raw_parts(map.cast::<u8>(), 9000) }.to_vec();
    check_eq!(mapped, data, "mapped bytes");
    sys!(munmap(map, 9000))?;
    let mut back = vec![0; 9000];
    check_eq!(sys!(pread(file, back.as_mut_ptr().cast(), 9000, 0))?, 9000, "bytes read");
    check_eq!(back, data, "bytes");
    chain.bytes(&back);
    check_eq!(sys!(fcntl(file, libc::F_GET_SEALS))?, 0, "seals at first");
    sys!(fcntl(file, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW))?;
    fails!(EPERM, ftruncate(file, 100))?;
    fails!(EPERM, ftruncate(file, 100_000))?;
    check_eq!(sys!(pwrite(file, b"inside".as_ptr().cast(), 6, 0))?, 6, "a write inside");
    sys!(fcntl(file, libc::F_ADD_SEALS, libc::F_SEAL_WRITE | libc::F_SEAL_SEAL))?;
    fails!(EPERM, pwrite(file, b"inside".as_ptr().cast(), 6, 0))?;
    fails!(EPERM, fcntl(file, libc::F_ADD_SEALS, libc::F_SEAL_WRITE))?;
    let all = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    check_eq!(sys!(fcntl(file, libc::F_GET_SEALS))?, all, "seals at last");
    let link = std::fs::read_link(format!("/proc/self/fd/{file}"))?;
    check!(link.to_string_lossy().contains("memfd:guest"), "the link is {}", link.display());
    fd::close(file)
}
