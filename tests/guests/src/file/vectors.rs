//! Scattered reads and gathered writes.

use crate::kit::{Chain, Result, WorkDir, fd};

fn vector(parts: &mut [&mut [u8]]) -> Vec<libc::iovec> {
    parts.iter_mut().map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() }).collect()
}

/// `readv` and `writev` on a file and a pipe, buffers of all sizes, one empty, more room than bytes.
pub fn readv_writev(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let (read, write) = fd::pipe()?;
    let file = fd::create(c"file")?;
    for (out, into) in [(write, read), (file, file)] {
        let mut data = chain.data(3000);
        let wanted = data.clone();
        let (first, rest) = data.split_at_mut(1);
        let (second, third) = rest.split_at_mut(1400);
        let gather = vector(&mut [first, &mut [], second, third]);
        check_eq!(sys!(writev(out, gather.as_ptr(), 4))?, 3000, "bytes gathered");
        if out == into {
            sys!(lseek(file, 0, libc::SEEK_SET))?;
        }
        let (mut a, mut b, mut c) = ([0; 7], vec![0; 2500], vec![0xee; 5000]);
        let scatter = vector(&mut [&mut a, &mut b, &mut [], &mut c]);
        check_eq!(sys!(readv(into, scatter.as_ptr(), 4))?, 3000, "bytes scattered");
        check_eq!([&a[..], &b, &c[..493]].concat(), wanted, "bytes");
        check!(c[493..].iter().all(|&byte| byte == 0xee), "bytes behind the end");
        chain.bytes(&b);
    }
    let device = fd::open(c"/dev/urandom", libc::O_RDONLY)?;
    let (mut a, mut b) = ([0; 33], [0; 100]);
    let scatter = vector(&mut [&mut a, &mut b]);
    check_eq!(sys!(readv(device, scatter.as_ptr(), 2))?, 133, "random bytes");
    chain.bytes(&a);
    chain.bytes(&b);
    fails!(EINVAL, readv(device, scatter.as_ptr(), -1))?;
    fd::close_all(&[read, write, file, device])
}

/// `preadv`, `pwritev` and their second versions, whose offset -1 means the file's own.
pub fn preadv_pwritev(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let mut data = chain.data(2000);
    let wanted = data.clone();
    let (left, right) = data.split_at_mut(900);
    let gather = vector(&mut [left, right]);
    check_eq!(sys!(pwritev(file, gather.as_ptr(), 2, 500))?, 2000, "bytes gathered");
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 0, "offset");
    let (mut a, mut b) = (vec![0; 500], vec![0; 4000]);
    let scatter = vector(&mut [&mut a, &mut b]);
    check_eq!(sys!(preadv(file, scatter.as_ptr(), 2, 0))?, 2500, "bytes scattered");
    check_eq!((a[..].to_vec(), &b[..2000]), (vec![0; 500], &wanted[..]), "bytes");
    check_eq!(sys!(pwritev2(file, gather.as_ptr(), 2, -1, libc::RWF_DSYNC))?, 2000, "bytes at the file's offset");
    check_eq!(sys!(lseek(file, 0, libc::SEEK_CUR))?, 2000, "offset");
    check_eq!(sys!(pwritev2(file, gather.as_ptr(), 2, 0, libc::RWF_APPEND))?, 2000, "bytes appended");
    check_eq!(sys!(lseek(file, 0, libc::SEEK_END))?, 4500, "size");
    check_eq!(sys!(preadv2(file, scatter.as_ptr(), 2, 2500, 0))?, 2000, "bytes at the end");
    check_eq!([&a[..], &b[..1500]].concat(), wanted, "appended bytes");
    chain.bytes(&b);
    fd::close(file)
}
