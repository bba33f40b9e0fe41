//! inotify: the replica's own kernel has queued what replay did to its files. The source had read its events, or the capture would
//! have waited, so the queue is emptied.

use std::os::fd::BorrowedFd;

use super::Obstacle;
use crate::sys::sockopt;

/// Reads and drops everything that is queued.
pub(super) fn empty(held: BorrowedFd<'_>) -> Result<(), Obstacle> {
    let failed = |step| move |source| Obstacle::Call { step, source };
    loop {
        let bytes = sockopt::ioctl_int(held, libc::FIONREAD).map_err(failed("looking at an inotify queue"))?;
        let Ok(bytes @ 1..) = usize::try_from(bytes) else { return Ok(()) };
        let mut buffer = vec![0; bytes];
        nix::unistd::read(held, &mut buffer).map_err(|errno| failed("emptying an inotify queue")(errno.into()))?;
    }
}
