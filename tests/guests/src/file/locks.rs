//! Locks on files.

use crate::kit::clock::sleep_ms;
use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, WorkDir, fd, zero};

/// `flock` belongs to the open file: shared with a child that inherits it, not with one that opens it again; a waiter gets it
/// when the holder is gone.
pub fn flock(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let (read, write) = fd::pipe()?;
    let pid = fork(|| {
        let own = fd::open(c"file", libc::O_RDWR)?;
        sys!(flock(own, libc::LOCK_EX))?;
        fd::write_all(write, b"!")?;
        sleep_ms(15)?;
        fd::write_all(own, b"written under the lock")?;
        Ok(0)
    })?;
    fd::read_exact(read, 1)?;
    fails!(EWOULDBLOCK, flock(file, libc::LOCK_SH | libc::LOCK_NB))?;
    sys!(flock(file, libc::LOCK_EX))?;
    let text = std::fs::read("file")?;
    check_eq!(text, b"written under the lock", "what the holder wrote");
    join(pid)?;
    sys!(flock(file, libc::LOCK_SH))?;
    join(fork(|| {
        let own = fd::open(c"file", libc::O_RDWR)?;
        sys!(flock(own, libc::LOCK_SH | libc::LOCK_NB))?;
        fails!(EWOULDBLOCK, flock(own, libc::LOCK_EX | libc::LOCK_NB))?;
        sys!(flock(file, libc::LOCK_UN))?;
        sys!(flock(own, libc::LOCK_EX | libc::LOCK_NB))?;
        Ok(0)
    })?)?;
    sys!(flock(file, libc::LOCK_EX | libc::LOCK_NB))?;
    chain.num(pid);
    fd::close_all(&[file, read, write])
}

fn range(kind: i32, start: i64, len: i64) -> libc::flock {
    let mut lock: libc::flock = zero();
    lock.l_type = kind as i16;
    lock.l_whence = libc::SEEK_SET as i16;
    lock.l_start = start;
    lock.l_len = len;
    lock
}

/// Record locks belong to the process: ranges are independent, a conflict names its holder, a waiter gets the range when it is
/// unlocked.
pub fn records(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    fd::write_all(file, &[0; 100])?;
    sys!(fcntl(file, libc::F_SETLK, &range(libc::F_WRLCK, 0, 10)))?;
    sys!(fcntl(file, libc::F_SETLK, &range(libc::F_RDLCK, 50, 10)))?;
    let (parent, (read, write), (go_read, go_write)) = (pid(), fd::pipe()?, fd::pipe()?);
    let child = fork(|| {
        let mut found = range(libc::F_WRLCK, 5, 1);
        sys!(fcntl(file, libc::F_GETLK, &raw mut found))?;
        check_eq!((found.l_pid, found.l_start, found.l_len), (parent, 0, 10), "holder and range");
        fails!(EAGAIN, fcntl(file, libc::F_SETLK, &range(libc::F_RDLCK, 9, 1)))?;
        sys!(fcntl(file, libc::F_SETLK, &range(libc::F_RDLCK, 50, 10)))?;
        sys!(fcntl(file, libc::F_SETLK, &range(libc::F_WRLCK, 80, 10)))?;
        fd::write_all(write, b"!")?;
        fd::read_exact(go_read, 1)?;
        sys!(fcntl(file, libc::F_SETLKW, &range(libc::F_WRLCK, 0, 20)))?;
        check_eq!(sys!(pwrite(file, b"child".as_ptr().cast(), 5, 0))?, 5, "bytes written");
        Ok(0)
    })?;
    fd::read_exact(read, 1)?;
    let mut found = range(libc::F_WRLCK, 0, 0);
    sys!(fcntl(file, libc::F_GETLK, &raw mut found))?;
    check_eq!(found.l_pid, child, "holder");
    chain.num(found.l_pid);
    chain.num(found.l_start);
    fd::write_all(go_write, b"!")?;
    sleep_ms(10)?;
    check_eq!(sys!(pwrite(file, b"parent".as_ptr().cast(), 6, 0))?, 6, "bytes written");
    sys!(fcntl(file, libc::F_SETLK, &range(libc::F_UNLCK, 0, 10)))?;
    join(child)?;
    check_eq!(std::fs::read("file")?[..7], *b"childt\0", "the child wrote after the parent");
    fd::close_all(&[file, read, write, go_read, go_write])
}

/// OFD locks belong to the open file: two descriptors of one process conflict, and a third waits for a child's.
pub fn open_files(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let (one, two) = (fd::create(c"file")?, fd::open(c"file", libc::O_RDWR)?);
    sys!(fcntl(one, libc::F_OFD_SETLK, &range(libc::F_WRLCK, 0, 5)))?;
    fails!(EAGAIN, fcntl(two, libc::F_OFD_SETLK, &range(libc::F_WRLCK, 4, 5)))?;
    let mut found = range(libc::F_WRLCK, 4, 5);
    sys!(fcntl(two, libc::F_OFD_GETLK, &raw mut found))?;
    check_eq!((found.l_type, found.l_pid), (libc::F_WRLCK as i16, -1), "kind and holder");
    let (read, write) = fd::pipe()?;
    let pid = fork(|| {
        let own = fd::open(c"file", libc::O_RDWR)?;
        sys!(fcntl(own, libc::F_OFD_SETLK, &range(libc::F_WRLCK, 10, 0)))?;
        fd::write_all(write, b"!")?;
        sleep_ms(10)?;
        Ok(0)
    })?;
    fd::read_exact(read, 1)?;
    sys!(fcntl(one, libc::F_OFD_SETLKW, &range(libc::F_WRLCK, 0, 20)))?;
    join(pid)?;
    sys!(fcntl(one, libc::F_OFD_SETLK, &range(libc::F_UNLCK, 0, 0)))?;
    sys!(fcntl(two, libc::F_OFD_SETLK, &range(libc::F_WRLCK, 0, 0)))?;
    chain.num(pid);
    fd::close_all(&[one, two, read, write])
}
