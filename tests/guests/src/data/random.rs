//! Random bytes, by the call and by the devices.

use std::collections::HashSet;

use crate::kit::{Chain, Result, fd};

/// `getrandom` fills exactly what it is asked for, with every flag, and never gives the same 16 bytes twice.
pub fn getrandom(chain: &mut Chain) -> Result {
    let mut seen = HashSet::new();
    for len in [1, 7, 16, 255, 256, 257, 4096, 65536] {
        for flags in [0, libc::GRND_NONBLOCK, libc::GRND_RANDOM] {
            let mut bytes = vec![0; len + 8];
            let got = sys!(getrandom(bytes.as_mut_ptr().cast(), len, flags))?;
            check_eq!(got as usize, len, "bytes with flags {flags}");
            check_eq!(bytes[len..], [0; 8], "bytes behind the buffer");
            check!(len < 16 || seen.insert(bytes[..16].to_vec()), "the same random bytes twice");
            chain.bytes(&bytes);
        }
    }
    chain.show("filled")?;
    fails!(EINVAL, getrandom(std::ptr::null_mut(), 0, 0x8000))?;
    fails!(EFAULT, getrandom(8 as *mut _, 16, 0))?;
    check_eq!(sys!(getrandom(8 as *mut _, 0, 0))?, 0, "no bytes asked for");
    Ok(())
}

/// The devices: urandom and random differ with each read, zero has zeros, null is empty and swallows.
pub fn urandom(chain: &mut Chain) -> Result {
    for name in [c"/dev/urandom", c"/dev/random"] {
        let device = fd::open(name, libc::O_RDONLY)?;
        let first = fd::read_exact(device, 64)?;
        let second = fd::read_exact(device, 64)?;
        check!(first != second, "the same 64 bytes twice");
        let mut third = [0; 64];
        check_eq!(sys!(pread(device, third.as_mut_ptr().cast(), 64, 4096))?, 64, "pread of {name:?}");
        for bytes in [&first, &second, &third.to_vec()] {
            chain.bytes(bytes);
        }
        fd::close(device)?;
    }
    let zero = fd::open(c"/dev/zero", libc::O_RDONLY)?;
    check!(fd::read_exact(zero, 100_000)?.iter().all(|&byte| byte == 0), "/dev/zero has something else");
    let null = fd::open(c"/dev/null", libc::O_RDWR)?;
    check_eq!(fd::read(null, &mut [1; 64])?, 0, "read of /dev/null");
    check_eq!(fd::write(null, &[1; 5000])?, 5000, "write to /dev/null");
    let mut file = std::fs::File::open("/dev/urandom")?;
    let mut bytes = [0; 24];
    std::io::Read::read_exact(&mut file, &mut bytes)?;
    chain.bytes(&bytes);
    fd::close_all(&[zero, null])
}

/// A read of 1 MiB and one of 8 MiB arrive whole by one call each, and do not repeat.
pub fn urandom_large(chain: &mut Chain) -> Result {
    let device = fd::open(c"/dev/urandom", libc::O_RDONLY)?;
    for len in [1 << 20, 8 << 20, 5000] {
        let mut bytes = vec![0; len];
        check_eq!(fd::read(device, &mut bytes)?, len, "bytes of one read");
        let blocks: HashSet<&[u8]> = bytes.chunks(4096).collect();
        check_eq!(blocks.len(), len.div_ceil(4096), "distinct blocks");
        chain.bytes(&bytes);
        chain.show("read")?;
    }
    fd::close(device)
}

/// The standard library's hash maps are seeded by the kernel: their order of iteration is a random input of most programs.
pub fn hash_seed(chain: &mut Chain) -> Result {
    let names: HashSet<u32> = (0..500).collect();
    let order: Vec<u32> = names.iter().copied().collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    check!(sorted.into_iter().eq(0..500), "the set lost a number");
    order.iter().for_each(|&number| chain.num(number));
    Ok(())
}
