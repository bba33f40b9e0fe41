//! What a system call's record does to the replica: one file a family of calls.

mod descriptor;
mod file;
mod ipc;
mod process;
mod signal;
mod socket;
pub(super) mod timer;

use super::backend::{Backend, Call, Expect};
use super::engine::{Engine, Pending, Step};
use super::error::{ReplayError, Result};
use super::ptrace::RESTART_CODES;
use crate::record::Record;
use crate::sys::ptrace::Pid;
use migrate_common::record::{Class, Kind};
use migrate_common::syscalls::{self, Policy, Row, Special};

/// The operation in futex(2)'s second argument, without its options.
pub(super) const FUTEX_OPERATION: u64 = 0x7f;
pub(super) const EINTR: i64 = -(libc::EINTR as i64);

/// A record of a call, and the replica's task standing at that call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub(super) record: &'a Record,
    pub(super) row: &'static Row,
    pub(super) call: Call,
    pub(super) pid: Pid,
}

impl Site<'_> {
    /// What the call returned in the source.
    pub(super) fn ret(&self) -> i64 {
        self.record.head.ret
    }

    /// The result as the length of a buffer.
    pub(super) fn len(&self) -> u64 {
        self.ret().max(0).unsigned_abs()
    }
}

/// Whether a record's call will be executed.
pub(super) fn expected(record: &Record) -> Expect {
    if record.kind() != Some(Kind::Syscall) {
        return Expect::Executed;
    }
    let head = &record.head;
    let Some(row) = syscalls::row(head.nr) else { return Expect::Injected };
    let executed = match row.resolve(&head.args).0 {
        Policy::Special(Special::Sigreturn) => true,
        _ if head.ret < 0 => false,
        Policy::Reissue | Policy::ReissueInject => true,
        Policy::OwnElseInject | Policy::Output => record.class() == Class::OwnFile,
        Policy::Special(special) => matches!(
            special,
            Special::Open
                | Special::Mmap
                | Special::Accept
                | Special::Sendfile
                | Special::Lock
                | Special::Semop
                | Special::MsgQueue
                | Special::PosixQueue
                | Special::Wait
                | Special::Setsockopt
        ),
        Policy::Inject | Policy::Refuse(_) => false,
    };
    if executed { Expect::Executed } else { Expect::Injected }
}

impl<B: Backend> Engine<B> {
    pub(super) fn syscall(&mut self, record: &Record) -> Result<Step> {
        let head = &record.head;
        let Some(row) = syscalls::row(head.nr) else {
            return Err(self.unsupported(record, &format!("system call {}", head.nr), "the table has no row for it"));
        };
        match row.policy {
            // These are over where they began: with the records of the fork and of the exec.
            Policy::Special(Special::Fork) if head.ret >= 0 => return self.fork_returned(record),
            Policy::Special(Special::Exec) if head.ret >= 0 => return Ok(Step::Done),
            _ => {}
        }
        if let Some(pending) = self.task(record)?.pending.take()
            && !RESTART_CODES.contains(&pending.ret)
        {
            let pid = self.pid(record)?;
            self.backend.finish(pid, pending.ret)?;
        }
        let call = self.stand_at_call(record)?;
        let site = Site { record, row, call, pid: self.pid(record)? };
        self.check_call(&site)?;
        let (policy, _) = row.resolve(&head.args);
        if policy == Policy::Special(Special::Sigreturn) {
            // Its result is a register of what was interrupted: no error of its own.
            return self.sigreturn(&site);
        }
        if syscalls::was_interrupted(head.ret) {
            return self.interrupted(&site, policy);
        }
        if head.ret < 0 {
            return self.inject(&site);
        }
        match policy {
            Policy::Inject => self.inject(&site),
            Policy::Reissue => self.reissue(&site),
            Policy::ReissueInject => {
                self.execute_same(&site, call.args)?;
                self.inject(&site)
            }
            Policy::OwnElseInject if record.class() == Class::OwnFile => self.own_file(&site),
            Policy::OwnElseInject => self.inject(&site),
            Policy::Output => self.output(&site),
            Policy::Special(special) => self.special(&site, special),
            Policy::Refuse(why) => Err(self.unsupported(record, row.name, why)),
        }
    }

    fn special(&mut self, site: &Site<'_>, special: Special) -> Result<Step> {
        match special {
            Special::Fork | Special::Exec | Special::Sigreturn => Ok(Step::Done),
            Special::Exit => Err(self.desync(site.record, "a call that returns", "an exit")),
            Special::Wait => self.wait(site),
            Special::Restart | Special::MaskedWait => self.inject(site),
            Special::Accept => self.accept(site),
            Special::Connect => self.connect(site),
            Special::SendMsg => self.sendmsg(site),
            Special::RecvMsg => self.recvmsg(site),
            Special::Shutdown => self.shutdown(site),
            Special::Setsockopt => self.setsockopt(site),
            Special::Open => self.open(site),
            Special::Sendfile => self.sendfile(site),
            Special::Lock => self.lock(site),
            Special::Semop => self.semop(site),
            Special::MsgQueue => self.message_queue(site),
            Special::PosixQueue => self.posix_queue(site),
            Special::Mmap => self.mmap(site),
            Special::Timer => self.timer(site),
        }
    }

    /// The replica makes the call that the log has, with the same arguments.
    fn check_call(&self, site: &Site<'_>) -> Result<()> {
        let head = &site.record.head;
        let restart = matches!(site.row.policy, Policy::Special(Special::Restart));
        if restart || (head.nr == site.call.nr && matches!(site.row.policy, Policy::Special(Special::Sigreturn))) {
            return Ok(());
        }
        if head.nr == site.call.nr && head.args == site.call.args {
            return Ok(());
        }
        let name = syscalls::row(site.call.nr).map_or("an unknown call", |row| row.name);
        Err(self.desync(
            site.record,
            &format!("{}{:x?}", site.row.name, head.args),
            &format!("{name}{:x?} at {:#x}", site.call.args, site.call.ip),
        ))
    }

    /// A signal or a freeze ended the call: what follows decides whether the program sees that.
    fn interrupted(&mut self, site: &Site<'_>, policy: Policy) -> Result<Step> {
        self.write_segments(site)?;
        let masked = matches!(policy, Policy::Special(Special::MaskedWait));
        let mask = if masked { self.wait_mask(site)? } else { None };
        self.task(site.record)?.pending = Some(Pending { ret: site.ret(), mask });
        Ok(Step::Done)
    }

    /// The call is not executed: its outputs and its result are the log's.
    pub(super) fn inject(&mut self, site: &Site<'_>) -> Result<Step> {
        self.note_taken_timers(site.record)?;
        self.write_segments(site)?;
        self.backend.finish(site.pid, site.ret())?;
        Ok(Step::Done)
    }

    pub(super) fn write_segments(&mut self, site: &Site<'_>) -> Result<()> {
        for segment in site.record.segments() {
            self.backend.write(site.pid, segment.addr, segment.bytes)?;
        }
        Ok(())
    }

    /// The call is executed, and gives what the log says.
    pub(super) fn reissue(&mut self, site: &Site<'_>) -> Result<Step> {
        self.execute_same(site, site.call.args)?;
        self.renumber_pair(site)?;
        self.compare_segments(site)?;
        self.backend.finish(site.pid, site.ret())?;
        Ok(Step::Done)
    }

    pub(super) fn execute_same(&mut self, site: &Site<'_>, args: [u64; 6]) -> Result<()> {
        let ret = self.backend.execute(site.pid, site.call.nr, args)?;
        self.expect_result(site, ret)
    }

    pub(super) fn expect_ret(&self, site: &Site<'_>, ret: i64) -> Result<()> {
        if ret == site.ret() {
            return Ok(());
        }
        Err(self.desync(site.record, &format!("{} returns {:#x}", site.row.name, site.ret()), &format!("it returns {ret:#x}")))
    }

    pub(super) fn compare_segments(&self, site: &Site<'_>) -> Result<()> {
        let mut buffer = Vec::new();
        for segment in site.record.segments() {
            buffer.resize(segment.bytes.len(), 0);
            self.backend.read(site.pid, segment.addr, &mut buffer)?;
            if buffer != segment.bytes {
                let expected = format!("{} writes {:02x?} at {:#x}", site.row.name, segment.bytes, segment.addr);
                return Err(self.desync(site.record, &expected, &format!("{buffer:02x?}")));
            }
        }
        Ok(())
    }

    /// Makes the task execute another call.
    pub(super) fn call(&mut self, site: &Site<'_>, nr: i64, args: [u64; 6]) -> Result<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "libc's numbers are small")]
        let nr = nr as i32;
        Ok(self.backend.execute(site.pid, nr, args)?)
    }

    pub(super) fn unsupported(&self, record: &Record, call: &str, why: &str) -> ReplayError {
        ReplayError::Unsupported { tid: record.head.tid, call: call.to_owned(), why: why.to_owned() }
    }
}

pub(super) fn is(nr: i32, special: Special) -> bool {
    syscalls::row(nr).is_some_and(|row| row.policy == Policy::Special(special))
}
