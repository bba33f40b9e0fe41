//! Numbers of descriptors: as in the source.
//!
//! The kernel gives the lowest free number, and `accept` takes its own before it waits for a connection. The replica does not wait
//! there, so numbers that the source's tasks held in `accept` are free in it: what it gets too low is moved to where the log has it.

use super::{Engine, Result, Site};
use crate::replay::backend::{At, Backend};
use migrate_common::syscalls::{Fd, Policy, Special};

impl<B: Backend> Engine<B> {
    /// Checks the result of a call that was executed, after a new descriptor has been given its number.
    pub(super) fn expect_result(&mut self, site: &Site<'_>, ret: i64) -> Result<()> {
        if ret != site.ret() && makes_one(site) && self.numbers_are_held(site) {
            self.renumber(site, ret, site.ret())?;
            return Ok(());
        }
        self.expect_ret(site, ret)
    }

    /// pipe and socketpair tell the numbers in memory.
    pub(super) fn renumber_pair(&mut self, site: &Site<'_>) -> Result<()> {
        let at = match i64::from(site.call.nr) {
            libc::SYS_pipe | libc::SYS_pipe2 => site.call.args[0],
            libc::SYS_socketpair => site.call.args[3],
            _ => return Ok(()),
        };
        let Some(segment) = site.record.segments().find(|segment| segment.addr == at) else { return Ok(()) };
        let mut own = [0; 8];
        self.backend.read(site.pid, at, &mut own)?;
        if segment.bytes == own || !self.numbers_are_held(site) {
            return Ok(());
        }
        let numbers = |bytes: &[u8]| -> Vec<i64> {
            bytes.chunks_exact(4).map(|b| i64::from(i32::from_ne_bytes([b[0], b[1], b[2], b[3]]))).collect()
        };
        // The higher one first: it may be where the lower one goes.
        let mut moves: Vec<_> = numbers(&own).into_iter().zip(numbers(segment.bytes)).collect();
        moves.sort_unstable_by_key(|(_, wanted)| std::cmp::Reverse(*wanted));
        for (got, wanted) in moves {
            self.renumber(site, got, wanted)?;
        }
        Ok(self.backend.write(site.pid, at, segment.bytes)?)
    }

    fn renumber(&mut self, site: &Site<'_>, got: i64, wanted: i64) -> Result<()> {
        let differs = |engine: &Self| {
            Err(engine.desync(site.record, &format!("{} makes descriptor {wanted}", site.row.name), &format!("it makes {got}")))
        };
        let (Ok(from), Ok(to)) = (u64::try_from(got), u64::try_from(wanted)) else { return differs(self) };
        if from == to {
            return Ok(());
        }
        // A number that the source had not given away is taken here: the tables differ.
        if from > to || self.call(site, libc::SYS_fcntl, [to, libc::F_GETFD as u64, 0, 0, 0, 0])? != -i64::from(libc::EBADF) {
            return differs(self);
        }
        let flags = self.call(site, libc::SYS_fcntl, [from, libc::F_GETFD as u64, 0, 0, 0, 0])?;
        let cloexec = if flags & i64::from(libc::FD_CLOEXEC) == 0 { 0 } else { libc::O_CLOEXEC as u64 };
        if self.call(site, libc::SYS_dup3, [from, to, cloexec, 0, 0, 0])? != wanted {
            return differs(self);
        }
        self.call(site, libc::SYS_close, [from, 0, 0, 0, 0, 0])?;
        Ok(())
    }

    /// Does another task of the process stand in `accept`?
    fn numbers_are_held(&self, site: &Site<'_>) -> bool {
        let Some(own) = self.tasks.get(&site.record.head.tid) else { return false };
        let accepts = |pid| matches!(self.backend.at(pid), At::Call(call) if super::is(call.nr, Special::Accept));
        self.tasks.values().any(|task| task.tgid == own.tgid && task.pid != own.pid && accepts(task.pid))
    }
}

fn makes_one(site: &Site<'_>) -> bool {
    let duplicates = i64::from(site.call.nr) == libc::SYS_fcntl
        && [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].iter().any(|command| site.call.args[1] == u64::from(command.unsigned_abs()));
    duplicates || (site.row.fd == Fd::Ret && !matches!(site.row.policy, Policy::Refuse(_)))
}
