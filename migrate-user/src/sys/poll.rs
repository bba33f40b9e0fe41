//! What a descriptor is ready for, now.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Which of `events` (`POLLIN`, …) hold, and `POLLERR` and `POLLHUP` whether asked for or not. Does not wait and takes nothing.
///
/// # Errors
/// What poll(2) says.
pub fn ready(fd: impl AsFd, events: i16) -> io::Result<i16> {
    let mut entry = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 };
    // SAFETY: the kernel reads and writes one pollfd.
    if unsafe { libc::poll(&mut entry, 1, 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(entry.revents) }
}
