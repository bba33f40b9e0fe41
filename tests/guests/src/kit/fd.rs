//! Descriptors as plain numbers: guests check the numbers too.

use std::ffi::{CStr, CString};

use crate::kit::Result;
use crate::kit::call::errno;

/// Names as C has them, for the calls that guests make themselves.
pub fn c(text: &str) -> CString {
    CString::new(text).expect("names of guests have no null byte")
}

/// Opens a file relative to the current directory.
pub fn open(path: &CStr, flags: i32) -> Result<i32> {
    sys!(open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644))
}

/// Makes an empty file for reading and writing.
pub fn create(path: &CStr) -> Result<i32> {
    open(path, libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC)
}

/// Closes a descriptor that is open.
pub fn close(fd: i32) -> Result {
    sys!(close(fd)).map(drop)
}

/// Closes several.
pub fn close_all(fds: &[i32]) -> Result {
    fds.iter().try_for_each(|&fd| close(fd))
}

/// A pipe: (read end, write end).
pub fn pipe() -> Result<(i32, i32)> {
    pipe_with(libc::O_CLOEXEC)
}

/// A pipe with these flags.
pub fn pipe_with(flags: i32) -> Result<(i32, i32)> {
    let mut ends = [0; 2];
    sys!(pipe2(ends.as_mut_ptr(), flags))?;
    Ok((ends[0], ends[1]))
}

/// One `read`.
pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    Ok(sys!(read(fd, buffer.as_mut_ptr().cast(), buffer.len()))? as usize)
}

/// One `write`.
pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    Ok(sys!(write(fd, bytes.as_ptr().cast(), bytes.len()))? as usize)
}

/// Writes everything, signals or not.
pub fn write_all(fd: i32, mut bytes: &[u8]) -> Result {
    while !bytes.is_empty() {
        // SAFETY: the slice's own pointer and length.
        let count = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        if count >= 0 {
            bytes = &bytes[count as usize..];
        } else if errno() != libc::EINTR {
            return Err(anyhow::Error::new(std::io::Error::last_os_error()).context(format!("write to descriptor {fd}")));
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the other end is closed, signals or not; gives the bytes read.
pub fn read_full(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        let rest = &mut buffer[got..];
        // SAFETY: the slice's own pointer and length.
        let count = unsafe { libc::read(fd, rest.as_mut_ptr().cast(), rest.len()) };
        if count > 0 {
            got += count as usize;
        } else if count == 0 {
            break;
        } else if errno() != libc::EINTR {
            return Err(anyhow::Error::new(std::io::Error::last_os_error()).context(format!("read of descriptor {fd}")));
        }
    }
    Ok(got)
}

/// Reads exactly so many bytes.
pub fn read_exact(fd: i32, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let got = read_full(fd, &mut bytes)?;
    check_eq!(got, len, "bytes before the end of descriptor {fd}");
    Ok(bytes)
}

/// Reads to the end.
pub fn read_to_end(fd: i32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match read_full(fd, &mut part)? {
            0 => return Ok(bytes),
            got => bytes.extend_from_slice(&part[..got]),
        }
    }
}

/// Reads one u64, as eventfd and timerfd give them.
pub fn read_u64(fd: i32) -> Result<u64> {
    let mut word = [0; 8];
    check_eq!(read(fd, &mut word)?, 8, "bytes of a counter");
    Ok(u64::from_ne_bytes(word))
}

/// Makes a descriptor non-blocking.
pub fn nonblocking(fd: i32) -> Result {
    let flags = sys!(fcntl(fd, libc::F_GETFL))?;
    sys!(fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
}

/// Whether `poll` says so of a descriptor within a time: the events it reports, 0 when time is up.
pub fn poll_one(fd: i32, events: i16, timeout_ms: i32) -> Result<i16> {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    sys!(poll(&raw mut entry, 1, timeout_ms))?;
    Ok(entry.revents)
}

/// Random bytes of the kernel.
pub fn random(len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let got = sys!(getrandom(bytes.as_mut_ptr().cast(), len, 0))?;
    check_eq!(got as usize, len, "random bytes");
    Ok(bytes)
}
