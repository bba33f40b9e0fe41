//! Descriptor numbers.

use crate::kit::{Chain, Result, WorkDir, fd, unsupported};

/// `dup` takes the lowest free number, `dup2` and `dup3` the one they are told; all share one offset.
pub fn dup(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let text = chain.data(100);
    fd::write_all(file, &text)?;
    let low = sys!(dup(file))?;
    check_eq!(low, file + 1, "lowest free number");
    check_eq!(sys!(dup2(file, 77))?, 77, "dup2");
    check_eq!(sys!(dup2(file, file))?, file, "dup2 to itself");
    check_eq!(sys!(dup3(low, 78, libc::O_CLOEXEC))?, 78, "dup3");
    fails!(EINVAL, dup3(low, low, 0))?;
    check_eq!(sys!(fcntl(file, libc::F_DUPFD, 100))?, 100, "F_DUPFD");
    check_eq!(sys!(fcntl(file, libc::F_DUPFD_CLOEXEC, 100))?, 101, "F_DUPFD_CLOEXEC");
    for (number, cloexec) in [(low, 0), (77, 0), (78, 1), (100, 0), (101, 1)] {
        check_eq!(sys!(fcntl(number, libc::F_GETFD))?, cloexec, "close-on-exec of {number}");
    }
    sys!(lseek(78, 10, libc::SEEK_SET))?;
    let mut seen = Vec::new();
    for number in [file, low, 77, 78, 100, 101] {
        seen.extend(fd::read_exact(number, 10)?);
    }
    check_eq!(seen[..], text[10..70], "bytes by six numbers of one file");
    chain.bytes(&seen);
    fd::close(low)?;
    fails!(EBADF, dup(low))?;
    fails!(EBADF, dup2(low, 77))?;
    check_eq!(sys!(dup(77))?, low, "the number that became free");
    fd::close_all(&[file, low, 77, 78, 100, 101])
}

/// Status flags belong to the open file, close-on-exec to the number.
pub fn fcntl_flags(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe_with(0)?;
    let other = sys!(dup(read))?;
    fd::nonblocking(read)?;
    check!(sys!(fcntl(other, libc::F_GETFL))? & libc::O_NONBLOCK != 0, "the duplicate does not share O_NONBLOCK");
    let mut byte = 0u8;
    fails!(EAGAIN, read(other, (&raw mut byte).cast(), 1))?;
    sys!(fcntl(read, libc::F_SETFD, libc::FD_CLOEXEC))?;
    check_eq!(sys!(fcntl(other, libc::F_GETFD))?, 0, "close-on-exec of the duplicate");
    let mut off = 0i32;
    sys!(ioctl(other, libc::FIONBIO, &raw mut off))?;
    check!(sys!(fcntl(read, libc::F_GETFL))? & libc::O_NONBLOCK == 0, "FIONBIO did not reach the open file");
    sys!(ioctl(other, libc::FIOCLEX))?;
    check_eq!(sys!(fcntl(other, libc::F_GETFD))?, libc::FD_CLOEXEC, "FIOCLEX");
    sys!(ioctl(other, libc::FIONCLEX))?;
    check_eq!(sys!(fcntl(other, libc::F_GETFD))?, 0, "FIONCLEX");
    chain.num(sys!(fcntl(write, libc::F_GETFL))?);
    let standard = [0, 1, 2].map(|number| plain!(fcntl(number, libc::F_GETFL)));
    standard.into_iter().for_each(|flags| chain.num(flags));
    chain.num(plain!(isatty(0)));
    fails!(EBADF, fcntl(999, libc::F_GETFL))?;
    fd::close_all(&[read, write, other])
}

/// `close_range` closes a range and nothing else, or marks it close-on-exec.
pub fn close_range(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe_with(0)?;
    for number in 50..70 {
        sys!(dup2(read, number))?;
    }
    let close = |first: i32, last: i32, flags: u32| plain!(syscall(libc::SYS_close_range, first, last, flags));
    if close(55, 59, 0) == -1 {
        unsupported("close_range")?;
        (50..70).try_for_each(fd::close)?;
        return fd::close_all(&[read, write]);
    }
    check_eq!(close(60, 64, libc::CLOSE_RANGE_CLOEXEC), 0, "close_range with CLOEXEC");
    for number in 50..70 {
        let flags = plain!(fcntl(number, libc::F_GETFD));
        let wanted = match number {
            55..=59 => -1,
            60..=64 => libc::FD_CLOEXEC,
            _ => 0,
        };
        check_eq!(flags, wanted, "flags of {number}");
        chain.num(flags);
    }
    check_eq!(close(9, 5, 0), -1, "a range that ends before it begins");
    check_eq!(close(50, i32::MAX, 0), 0, "close_range to the end");
    fails!(EBADF, fcntl(69, libc::F_GETFD))?;
    fd::close_all(&[read, write])
}

/// RLIMIT_NOFILE: the number that does not fit is refused with EMFILE, and can be had once another is closed.
pub fn limit(chain: &mut Chain) -> Result {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    sys!(getrlimit(libc::RLIMIT_NOFILE, &raw mut old))?;
    chain.num(old.rlim_max);
    let new = libc::rlimit { rlim_cur: 24, rlim_max: old.rlim_max };
    sys!(setrlimit(libc::RLIMIT_NOFILE, &raw const new))?;
    let mut fds = vec![fd::open(c"/dev/null", libc::O_RDONLY)?];
    while fds.last() < Some(&23) {
        fds.push(sys!(dup(fds[0]))?);
    }
    fails!(EMFILE, dup(fds[0]))?;
    fails!(EMFILE, open(c"/dev/null".as_ptr(), libc::O_RDONLY))?;
    let mut ends = [0; 2];
    fails!(EMFILE, pipe(ends.as_mut_ptr()))?;
    fails!(EBADF, dup2(fds[0], 24))?;
    let middle = fds.remove(fds.len() / 2);
    fd::close(middle)?;
    check_eq!(sys!(dup(fds[0]))?, middle, "the number that became free");
    fds.push(middle);
    fds.iter().for_each(|&number| chain.num(number));
    fd::close_all(&fds)
}
