//! eventfd: its count.

use std::os::fd::{BorrowedFd, RawFd};

use serde::{Deserialize, Serialize};

use super::error::During;
use super::fdinfo::{FdInfo, unexpected};
use super::{Obstacle, Task};

/// Semaphores are drained one unit a read; above this the replica is not what it should be.
const MOST_UNITS: u64 = 1 << 20;

/// An eventfd's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFd {
    pub count: u64,
}

fn parse(info: &FdInfo) -> Option<EventFd> {
    Some(EventFd { count: u64::from_str_radix(info.field("eventfd-count")?, 16).ok()? })
}

/// Reads the count without taking it.
///
/// # Errors
/// An unreadable fdinfo.
pub(super) fn capture(task: Task, fd: RawFd) -> Result<EventFd, Obstacle> {
    let info = FdInfo::read(task.host_pid, fd).during("reading fdinfo")?;
    parse(&info).ok_or_else(|| unexpected("eventfd-count")).during("reading fdinfo")
}

/// Brings the replica's count to the source's.
///
/// # Errors
/// A failing read or write.
pub(super) fn restore(task: Task, fd: RawFd, held: BorrowedFd<'_>, wanted: EventFd) -> Result<(), Obstacle> {
    let mut found = capture(task, fd)?.count;
    let mut reads = 0;
    // One read empties a counter and takes one unit from a semaphore. It does not block: the count is above zero.
    while found > wanted.count {
        let mut unit = [0; 8];
        rustix::io::read(held, &mut unit).during("draining")?;
        found = found.saturating_sub(u64::from_ne_bytes(unit));
        reads += 1;
        if reads > MOST_UNITS {
            return Err(Obstacle::Unsupported(format!("{found} units too many in the replica's semaphore")));
        }
    }
    if wanted.count > found {
        rustix::io::write(held, &(wanted.count - found).to_ne_bytes()).during("adding the count")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_hexadecimal() {
        let info =
            FdInfo::from_text("pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1\neventfd-count:               1f\neventfd-id: 3\n");
        assert_eq!(parse(&info), Some(EventFd { count: 31 }));
    }
}
