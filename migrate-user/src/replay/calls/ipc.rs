//! Semaphores and message queues. The replica has its own, with the same numbers, as it made them in the same order; the source
//! may have waited, which the replica never does: what has not happened yet is tried again after the others' calls.

use super::Site;
use crate::replay::backend::Backend;
use crate::replay::engine::{Engine, Step};
use crate::replay::error::Result;

const EAGAIN: i64 = -(libc::EAGAIN as i64);
const ENOMSG: i64 = -(libc::ENOMSG as i64);
const ETIMEDOUT: i64 = -(libc::ETIMEDOUT as i64);
const NOWAIT: u64 = libc::IPC_NOWAIT as u64;
/// A timespec of zeros: no time at all, and a moment that is past.
const NO_TIME: [u8; 16] = [0; 16];

impl<B: Backend> Engine<B> {
    /// semop and semtimedop, with no time to wait: IPC_NOWAIT would have to be written into each operation.
    pub(super) fn semop(&mut self, site: &Site<'_>) -> Result<Step> {
        let [set, operations, count, ..] = site.call.args;
        let args = [set, operations, count, self.scratch(site.pid)?, 0, 0];
        let ret = self.execute_with(site.pid, libc::SYS_semtimedop, args, &NO_TIME)?;
        self.without_waiting(site, ret, EAGAIN)
    }

    /// msgsnd and msgrcv.
    pub(super) fn message_queue(&mut self, site: &Site<'_>) -> Result<Step> {
        let receives = i64::from(site.call.nr) == libc::SYS_msgrcv;
        let mut args = site.call.args;
        args[if receives { 4 } else { 3 }] |= NOWAIT;
        let ret = self.backend.execute(site.pid, site.call.nr, args)?;
        self.without_waiting(site, ret, if receives { ENOMSG } else { EAGAIN })
    }

    /// mq_timedsend and mq_timedreceive, until a moment that is past.
    pub(super) fn posix_queue(&mut self, site: &Site<'_>) -> Result<Step> {
        let mut args = site.call.args;
        args[4] = self.scratch(site.pid)?;
        let ret = self.execute_with(site.pid, i64::from(site.call.nr), args, &NO_TIME)?;
        // A queue that was opened so does not wait at all.
        self.without_waiting(site, if ret == EAGAIN { ETIMEDOUT } else { ret }, ETIMEDOUT)
    }

    fn without_waiting(&mut self, site: &Site<'_>, ret: i64, would_wait: i64) -> Result<Step> {
        if ret == would_wait {
            return Ok(Step::NotYet);
        }
        self.expect_ret(site, ret)?;
        self.compare_segments(site)?;
        self.backend.finish(site.pid, ret)?;
        Ok(Step::Done)
    }
}
