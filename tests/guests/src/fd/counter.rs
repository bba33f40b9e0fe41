//! eventfd.

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, fd};

fn add(counter: i32, value: u64) -> Result {
    check_eq!(fd::write(counter, &value.to_ne_bytes())?, 8, "bytes of a counter");
    Ok(())
}

/// A counter adds what is written and is emptied by a read; its largest value is 2^64 - 2.
pub fn eventfd(chain: &mut Chain) -> Result {
    let counter = sys!(eventfd(3, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?;
    check_eq!(fd::read_u64(counter)?, 3, "first value");
    let mut word = [0u8; 8];
    fails!(EAGAIN, read(counter, word.as_mut_ptr().cast(), 8))?;
    let mut sum = 0;
    for _ in 0..20 {
        let value = chain.below(1 << 40);
        add(counter, value)?;
        sum += value;
    }
    let got = fd::read_u64(counter)?;
    check_eq!(got, sum, "sum");
    chain.num(got);
    add(counter, u64::MAX - 1)?;
    check_eq!(fd::poll_one(counter, libc::POLLIN | libc::POLLOUT, 0)?, libc::POLLIN, "events of a full counter");
    fails!(EAGAIN, write(counter, 1u64.to_ne_bytes().as_ptr().cast(), 8))?;
    fails!(EINVAL, write(counter, [0xff_u8; 8].as_ptr().cast(), 8))?;
    fails!(EINVAL, write(counter, [0u8; 8].as_ptr().cast(), 4))?;
    check_eq!(fd::read_u64(counter)?, u64::MAX - 1, "the largest value");
    fd::close(counter)
}

/// A semaphore gives 1 at a time.
pub fn semaphore(chain: &mut Chain) -> Result {
    let counter = sys!(eventfd(0, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE))?;
    let units = 3 + chain.below(10);
    add(counter, units)?;
    for _ in 0..units {
        check_eq!(fd::read_u64(counter)?, 1, "a unit");
    }
    let mut word = [0u8; 8];
    fails!(EAGAIN, read(counter, word.as_mut_ptr().cast(), 8))?;
    chain.num(units);
    fd::close(counter)
}

/// Parent and child take turns by two counters; then three children share a semaphore's units.
pub fn processes(chain: &mut Chain) -> Result {
    let (ping, pong) = (sys!(eventfd(0, 0))?, sys!(eventfd(0, 0))?);
    let pid = fork(|| {
        for _ in 0..100 {
            let value = fd::read_u64(ping)?;
            add(pong, value * 3)?;
        }
        Ok(0)
    })?;
    for _ in 0..100 {
        let value = 1 + chain.below(1000);
        add(ping, value)?;
        let answer = fd::read_u64(pong)?;
        check_eq!(answer, value * 3, "the child's answer");
        chain.num(answer);
    }
    join(pid)?;
    let units = sys!(eventfd(0, libc::EFD_SEMAPHORE))?;
    let takers = (0..3)
        .map(|_| {
            fork(|| {
                for _ in 0..10 {
                    fd::read_u64(units)?;
                }
                Ok(0)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..6 {
        add(units, 5)?;
    }
    takers.into_iter().try_for_each(join)?;
    fd::nonblocking(units)?;
    let mut word = [0u8; 8];
    fails!(EAGAIN, read(units, word.as_mut_ptr().cast(), 8))?;
    fd::close_all(&[ping, pong, units])
}
