//! The program that answers a moved container's stat calls; the agent starts it.

use crate::inodes::supervisor::{self, Task};
use clap::Args;
use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::process::ExitCode;

/// Shows a container the inode numbers that its files had before it was moved. Takes the map on standard input.
#[derive(Debug, Args)]
pub(super) struct InodeSupervisor {
    /// The container's first process.
    #[arg(long)]
    init: i32,
    /// Inherited descriptors of seccomp listeners.
    #[arg(long = "listener", required = true)]
    listeners: Vec<RawFd>,
}

impl InodeSupervisor {
    pub(super) fn run(self) -> ExitCode {
        match self.start() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The agent puts it into its own error.
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn start(self) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        let map = postcard::from_bytes(&bytes)?;
        let take = |number: RawFd| -> anyhow::Result<OwnedFd> {
            anyhow::ensure!(number > 2, "{number} is no listener");
            // SAFETY: whoever started this program gave it the descriptor for this purpose, and nothing else here has it.
            let listener = unsafe { OwnedFd::from_raw_fd(number) };
            rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
            Ok(listener)
        };
        let listeners = self.listeners.into_iter().map(take).collect::<anyhow::Result<_>>()?;
        Ok(supervisor::start(Task { listeners, map, init: self.init })?)
    }
}
