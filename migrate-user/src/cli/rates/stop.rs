//! Waiting for the next sample, or until somebody ends the command.

use crate::agent::api::Code;
use crate::cli::CliError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Takes SIGINT, SIGTERM and SIGHUP, so that the last interval is still shown and files are closed.
#[derive(Debug)]
pub(super) struct Stop {
    signals: SignalFd,
    bell: Arc<EventFd>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// It is time.
    Due,
    /// A signal, or whoever rang the bell, asked for the end.
    Told,
}

impl Stop {
    /// Blocks the signals in this thread and those that it starts.
    pub(super) fn block_signals() -> Result<Self, CliError> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        let blocked = signals.thread_block().and_then(|()| SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC));
        let signals = blocked.map_err(|errno| CliError::caused(Code::Failed, "cannot wait for signals", errno))?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let bell = bell.map_err(|errno| CliError::caused(Code::Failed, "cannot make an eventfd", errno))?;
        Ok(Self { signals, bell: Arc::new(bell) })
    }

    /// Ends waits when it is written to, as a signal does.
    pub(super) fn bell(&self) -> Arc<EventFd> {
        Arc::clone(&self.bell)
    }

    pub(super) fn wait_until(&self, due: Instant) -> Result<Waited, CliError> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Waited::Due);
            }
            // Rounded up, or the last millisecond would be spun away; days are waited for in parts.
            let left = (left + Duration::from_micros(999)).min(Duration::from_secs(3600));
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let ended_by = [self.signals.as_fd(), self.bell.as_fd()];
            let mut fds = ended_by.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, timeout) {
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(Waited::Told),
                Err(errno) => return Err(CliError::caused(Code::Failed, "cannot wait", errno)),
            }
        }
    }
}
