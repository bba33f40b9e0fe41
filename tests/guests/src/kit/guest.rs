//! What a guest is.

use crate::kit::{Chain, Result};

/// The part of the kernel that a guest is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Data,
    Timer,
    Fd,
    File,
    Socket,
    Epoll,
    Signal,
    Memory,
    Process,
    Thread,
    Futex,
    Shared,
    Ipc,
    Workload,
}

impl Family {
    /// As `guests --list` prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Data => "data",
            Family::Timer => "timer",
            Family::Fd => "fd",
            Family::File => "file",
            Family::Socket => "socket",
            Family::Epoll => "epoll",
            Family::Signal => "signal",
            Family::Memory => "memory",
            Family::Process => "process",
            Family::Thread => "thread",
            Family::Futex => "futex",
            Family::Shared => "shared",
            Family::Ipc => "ipc",
            Family::Workload => "workload",
        }
    }
}

/// A guest's function: checks, and takes into the chain what it saw.
pub type Run = fn(&mut Chain) -> Result;

/// A self-checking program.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    pub name: &'static str,
    pub family: Family,
    pub run: Run,
}
