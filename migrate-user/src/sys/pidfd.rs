//! Another process's descriptors, borrowed through `pidfd_getfd` (Linux 5.6).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

/// include/uapi/linux/pidfd.h
const PIDFD_THREAD: u32 = libc::O_EXCL as u32;

/// A task, held by a descriptor so that its number cannot be reused under us.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the task `pid`, a process or one of its threads, as numbered in the caller's pid namespace.
    ///
    /// # Errors
    /// `ESRCH` if there is none; for a thread `EINVAL` before Linux 6.9.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // No leader of its process: ENOENT since the kernel knows pidfds of threads, EINVAL before.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {
                Ok(Self(rustix::process::pidfd_open(pid, PidfdFlags::from_bits_retain(PIDFD_THREAD))?))
            }
            other => Ok(Self(other?)),
        }
    }

    /// A descriptor of the caller's for the open file behind the process's descriptor `fd`.
    ///
    /// It is the same open file description: offset and `O_NONBLOCK` are shared with the process.
    ///
    /// # Errors
    /// `EBADF` if the process has no such descriptor, `EPERM` without the right to trace it, `EMFILE` at the caller's limit.
    pub fn get(&self, fd: RawFd) -> io::Result<OwnedFd> {
        Ok(rustix::process::pidfd_getfd(&self.0, fd, PidfdGetfdFlags::empty())?)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
