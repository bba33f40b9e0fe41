//! `/proc/PID/fdinfo/FD`: what the kernel tells about a descriptor of one of its own kinds of files.

use std::io;
use std::os::fd::RawFd;

/// The text of one descriptor's fdinfo.
#[derive(Debug)]
pub(super) struct FdInfo(String);

impl FdInfo {
    pub(super) fn read(host_pid: i32, fd: RawFd) -> io::Result<Self> {
        std::fs::read_to_string(format!("/proc/{host_pid}/fdinfo/{fd}")).map(Self)
    }

    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// What stands behind `name:` on the first line that starts so.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// What stands behind `name:` on each line that starts so.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }
}

/// An answer that is not as the kernel's sources write it.
pub(super) fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("fdinfo without a readable {what}"))
}
