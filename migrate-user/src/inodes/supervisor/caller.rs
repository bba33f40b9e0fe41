//! The task that makes a call, looked at through `/proc`.

use super::rights::Rights;
use rustix::fs::{Mode, OFlags, openat};
use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Callers that are remembered. More are forgotten together.
const REMEMBERED: usize = 256;
/// Reading the rights takes four times as long as everything else, so they are kept until the task makes a call that may change them.
#[derive(Debug)]
pub(super) struct Callers {
    proc: OwnedFd,
    known: HashMap<u32, Caller>,
}

/// One of them. A directory of a task that has ended stays dead when its number is given to another.
#[derive(Debug)]
pub(super) struct Caller {
    tid: u32,
    directory: OwnedFd,
    rights: Option<Rights>,
}

impl Callers {
    pub(super) fn new(proc: OwnedFd) -> Self {
        Self { proc, known: HashMap::new() }
    }

    /// The task's rights may change with the call that it makes.
    pub(super) fn forget(&mut self, tid: u32) {
        self.known.remove(&tid);
    }

    /// The task of this number, which must wait in a call.
    pub(super) fn find(&mut self, tid: u32) -> io::Result<&mut Caller> {
        let alive = self.known.get(&tid).is_some_and(Caller::is_alive);
        if !alive {
            if self.known.len() >= REMEMBERED {
                self.known.clear();
            }
            let directory = open(self.proc.as_fd(), &tid.to_string(), OFlags::DIRECTORY)?;
            self.known.insert(tid, Caller { tid, directory, rights: None });
        }
        self.known.get_mut(&tid).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Caller {
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    fn is_alive(&self) -> bool {
        rustix::fs::statat(&self.directory, "fd", rustix::fs::AtFlags::empty()).is_ok()
    }

    /// What it has for a file: `root`, `cwd`, or `fd/N`.
    pub(super) fn open(&self, name: &str, more: OFlags) -> io::Result<OwnedFd> {
        open(self.directory(), name, more)
    }

    pub(super) fn rights(&mut self) -> io::Result<&Rights> {
        if self.rights.is_none() {
            let file = openat(&self.directory, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let mut text = String::new();
            std::fs::File::from(file).read_to_string(&mut text)?;
            self.rights = Rights::parse(&text);
        }
        self.rights.as_ref().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name at an address, without its end.
    pub(super) fn name(&self, address: u64) -> io::Result<Vec<u8>> {
        const PAGE_BYTES: u64 = 4096;
        let mut name = Vec::new();
        while name.len() < libc::PATH_MAX as usize {
            let at = address + name.len() as u64;
            // Names are short, and the next page may not be there.
            let mut part = [0; 256];
            let part = &mut part[..(PAGE_BYTES - at % PAGE_BYTES).min(256) as usize];
            crate::sys::ptrace::read_memory(self.tid.cast_signed(), at, part)?;
            if let Some(end) = part.iter().position(|&byte| byte == 0) {
                name.extend_from_slice(&part[..end]);
                return Ok(name);
            }
            name.extend_from_slice(part);
        }
        Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
    }

    /// Writes into its memory.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        crate::sys::ptrace::write_memory(self.tid.cast_signed(), address, bytes)
    }
}

fn open(directory: BorrowedFd<'_>, name: &str, more: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(directory, name, OFlags::PATH | OFlags::CLOEXEC | more, Mode::empty())?)
}
