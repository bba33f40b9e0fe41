//! Files: the container's own are opened, read and written for real; of others the log has the bytes.

use super::Site;
use super::socket::take_fd;
use crate::replay::backend::Backend;
use crate::replay::engine::{Engine, Step, link};
use crate::replay::error::Result;
use migrate_common::record::{Class, flags};
use migrate_common::syscalls::Policy;

const EAGAIN: i64 = -(libc::EAGAIN as i64);
const ENXIO: i64 = -(libc::ENXIO as i64);

/// Where the file of a read or write stood when the call returned.
fn logged_offset(site: &Site<'_>) -> Option<u64> {
    let segment = site.record.segments().find(|segment| site.row.moves_offset() && segment.addr == 0)?;
    segment.bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Where an open call has its flags.
fn open_flags_arg(nr: i64) -> Option<usize> {
    match nr {
        libc::SYS_open => Some(1),
        libc::SYS_openat => Some(2),
        _ => None,
    }
}

impl<B: Backend> Engine<B> {
    /// read, lseek and their kind on a file of the container's own.
    pub(super) fn own_file(&mut self, site: &Site<'_>) -> Result<Step> {
        if self.offset_differs(site)? {
            return Ok(Step::NotYet);
        }
        let mut args = site.call.args;
        if site.row.outs.len() == 1 && matches!(i64::from(site.call.nr), libc::SYS_read | libc::SYS_pread64) {
            // The file may have grown since: ask for what the source got.
            args[2] = args[2].min(site.len());
        }
        self.execute_same(site, args)?;
        self.backend.finish(site.pid, site.ret())?;
        Ok(Step::Done)
    }

    /// write and its kind.
    pub(super) fn output(&mut self, site: &Site<'_>) -> Result<Step> {
        let executed = match site.record.class() {
            Class::OwnFile => true,
            Class::Pipe => self.is_stdio(site),
            _ => false,
        };
        if !executed {
            return self.inject(site);
        }
        if self.offset_differs(site)? {
            return Ok(Step::NotYet);
        }
        let mut args = site.call.args;
        if matches!(i64::from(site.call.nr), libc::SYS_write | libc::SYS_pwrite64) {
            args[2] = site.len();
        }
        self.execute_same(site, args)?;
        self.backend.finish(site.pid, site.ret())?;
        Ok(Step::Done)
    }

    /// Tasks that read or write one file return from it in another order, at times, than the kernel served them in. The source's
    /// offset tells: what does not fit yet waits for another task's call. If none comes the replay ends, since the order is not
    /// known.
    fn offset_differs(&self, site: &Site<'_>) -> Result<bool> {
        let Some(after) = logged_offset(site) else { return Ok(false) };
        let Some(file) = take_fd(site.pid, site.call.args[0]) else {
            return Err(self.desync(site.record, "an open file", "no such descriptor"));
        };
        let appends = site.record.head.flags & flags::APPEND != 0 && site.row.policy == Policy::Output;
        let before = if appends {
            rustix::fs::fstat(&file).ok().and_then(|stat| u64::try_from(stat.st_size).ok())
        } else {
            rustix::fs::tell(&file).ok()
        };
        Ok(before.and_then(|before| before.checked_add(site.len())) != Some(after))
    }

    /// Is the call's first descriptor one of the container's standard streams?
    fn is_stdio(&self, site: &Site<'_>) -> bool {
        i32::try_from(site.call.args[0]).ok().and_then(|fd| link(site.pid, fd)).is_some_and(|link| self.stdio.contains(&link))
    }

    pub(super) fn open(&mut self, site: &Site<'_>) -> Result<Step> {
        if site.record.class() == Class::Pipe
            && let Some(flags) = open_flags_arg(i64::from(site.call.nr))
        {
            return self.open_fifo(site, flags);
        }
        self.reissue(site)
    }

    /// A FIFO's open waits for its other end, which the log may have later.
    fn open_fifo(&mut self, site: &Site<'_>, flags: usize) -> Result<Step> {
        let nonblock = libc::O_NONBLOCK as u64;
        let mut args = site.call.args;
        let waits = args[flags] & nonblock == 0;
        args[flags] |= nonblock;
        let ret = self.backend.execute(site.pid, site.call.nr, args)?;
        if ret == ENXIO {
            return Ok(Step::NotYet);
        }
        self.expect_ret(site, ret)?;
        if waits {
            let status = site.call.args[flags] & (libc::O_APPEND | libc::O_ACCMODE) as u64;
            self.call(site, libc::SYS_fcntl, [site.len(), libc::F_SETFL as u64, status, 0, 0, 0])?;
        }
        self.backend.finish(site.pid, ret)?;
        Ok(Step::Done)
    }

    /// Moves bytes that never reach the program's memory: only the offset of the file that they come from changes, and the file
    /// that they go to if it is the container's own.
    pub(super) fn sendfile(&mut self, site: &Site<'_>) -> Result<Step> {
        let [_, from, offset, ..] = site.call.args;
        if site.record.class() == Class::OwnFile || (site.record.class() == Class::Pipe && self.is_stdio(site)) {
            if site.len() > 0 && site.record.head.flags & flags::FROM_OWN == 0 {
                let why = "its bytes are those of a file outside the container's own file systems";
                return Err(self.unsupported(site.record, "sendfile", why));
            }
            let mut args = site.call.args;
            args[3] = site.len();
            self.execute_same(site, args)?;
        } else if offset == 0 {
            self.call(site, libc::SYS_lseek, [from, site.len(), libc::SEEK_CUR as u64, 0, 0, 0])?;
        }
        self.inject(site)
    }

    /// Locks are taken without waiting: if one is held, its holder's release comes later in the log.
    pub(super) fn lock(&mut self, site: &Site<'_>) -> Result<Step> {
        let mut args = site.call.args;
        if i64::from(site.call.nr) == libc::SYS_flock {
            args[1] |= libc::LOCK_NB as u64;
        } else {
            args[1] = match args[1] as i32 {
                libc::F_OFD_SETLKW => libc::F_OFD_SETLK as u64,
                _ => libc::F_SETLK as u64,
            };
        }
        let ret = self.backend.execute(site.pid, site.call.nr, args)?;
        if ret == EAGAIN {
            return Ok(Step::NotYet);
        }
        self.expect_ret(site, ret)?;
        self.backend.finish(site.pid, ret)?;
        Ok(Step::Done)
    }

    pub(super) fn mmap(&mut self, site: &Site<'_>) -> Result<Step> {
        let anonymous = site.call.args[3] & libc::MAP_ANONYMOUS as u64 != 0;
        if !anonymous && !matches!(site.record.class(), Class::OwnFile | Class::Char) {
            let why = "it maps a file that is not of the container's own file system";
            return Err(self.unsupported(site.record, "mmap", why));
        }
        self.reissue(site)
    }
}
