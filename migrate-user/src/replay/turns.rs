//! The order of tasks that share memory.
//!
//! From the first thread, or the first mapping that can be shared, the source's tasks take turns on one CPU and switch in calls, or
//! where the log has a [`Kind::Switch`]. The replica's take the same turns: behind each of its records a task runs on to its next
//! call at once, before the next record has its effect. Whether it did so in the source is told by the record that follows:
//!
//! ```text
//!   X read() = 5     X stands behind its call: poised
//!   Y write() = 5    another task's record: X went on to its next call, and blocked there. X runs on, then Y's record
//!
//!   X read() = 5     X is poised
//!   X switched out   ... at these registers: X runs to exactly there
//!   Y write() = 5
//!   X runs again     X is poised
//! ```
//! At the log's end a poised task stays where it is.

use super::backend::{At, Backend, BackendError, Expect, Point};
use super::calls::EINTR;
use super::engine::{Engine, Step};
use super::error::{ReplayError, Result};
use super::ptrace::SYSCALL_BYTES;
use crate::record::Record;
use migrate_common::record::{Header, Kind, flags};
use migrate_common::syscalls::was_interrupted;

/// Whose turn it is. All of this is idle until the container's tasks share memory.
#[derive(Debug, Default)]
pub(super) struct Turns {
    shared: bool,
    /// The task whose record was the last, and what will be done with its next call, if that is known.
    poised: Option<(u32, Option<Expect>)>,
    /// Tasks that were switched out, and where: they are taken there before anybody else moves.
    leaving: Vec<(Header, Point)>,
}

impl<B: Backend> Engine<B> {
    /// Whether tasks share memory, so that their order matters.
    pub(super) fn takes_turns(&self) -> bool {
        self.turns.shared
    }

    /// From here on the order of the tasks matters: this one's process has memory that others can have, too.
    pub(super) fn share(&mut self, tid: u32) {
        self.turns.shared = true;
        let tgid = self.tasks.get(&tid).map(|task| task.tgid);
        for task in self.tasks.values_mut().filter(|task| Some(task.tgid) == tgid) {
            task.shares = true;
        }
    }

    /// Before a record has its effect: the task of the one before it runs on, if that is what it did.
    pub(super) fn before(&mut self, record: &Record) -> Result<()> {
        let tid = record.head.tid;
        // A call that a freeze or a signal has interrupted: nobody has moved.
        let interrupted = record.kind() == Some(Kind::Syscall) && was_interrupted(record.head.ret);
        match self.turns.poised.take() {
            Some((poised, expect)) if poised != tid => {
                self.take_leave()?;
                self.run_on(poised, expect)?;
            }
            _ => {}
        }
        if !interrupted && record.kind() != Some(Kind::Switch) {
            self.take_leave()?;
        }
        Ok(())
    }

    /// After a record had its effect: its task goes on when it is known what it did next.
    pub(super) fn after(&mut self, record: &Record, next: Option<Expect>) {
        let Some(task) = self.tasks.get_mut(&record.head.tid) else { return };
        match record.kind() {
            Some(Kind::Resume) => task.away = false,
            Some(Kind::Syscall | Kind::Signal | Kind::Clocks) => {}
            _ => return,
        }
        if !task.away {
            self.turns.poised = Some((record.head.tid, next));
        }
    }

    /// Where a task stopped running, outside of a call.
    pub(super) fn switched(&mut self, record: &Record) -> Result<Step> {
        let Some(point) = Point::from_record(record) else {
            return Err(self.desync(record, "registers", "a record without them"));
        };
        self.task(record)?.away = true;
        self.turns.leaving.push((record.head, point));
        Ok(Step::Done)
    }

    /// Tasks that were switched out go to where that was.
    ///
    /// Not before somebody else moves: the last records of a log tell where a freeze caught the tasks, and to have them there is not
    /// worth a search.
    fn take_leave(&mut self) -> Result<()> {
        for (head, point) in std::mem::take(&mut self.turns.leaving) {
            let Some(task) = self.tasks.get_mut(&head.tid) else { continue };
            let pid = task.pid;
            if let (At::Call(call), Some(pending)) = (self.backend.at(pid), task.pending) {
                // Behind it, or before the instruction that makes it again.
                let at_call = [call.ip, call.ip - SYSCALL_BYTES].contains(&point.regs.rip);
                if point.regs.orig_rax.cast_signed() >= 0 && at_call {
                    continue;
                }
                task.pending = None;
                self.backend.finish(pid, pending.ret)?;
            }
            if self.backend.at(pid) == At::User {
                match self.backend.run_to(pid, &point) {
                    Err(error @ BackendError::NoSuchPoint { .. }) => {
                        return Err(self.recent.desync(&head, "it is switched out there".to_owned(), error.to_string()));
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// A task runs on to its next call.
    fn run_on(&mut self, tid: u32, expect: Option<Expect>) -> Result<()> {
        let Some(task) = self.tasks.get_mut(&tid).filter(|task| !task.makes_no_more_calls()) else { return Ok(()) };
        let pid = task.pid;
        if let Some(pending) = task.pending
            && pending.ret == EINTR
        {
            // Nobody restarts it: the program has seen that.
            task.pending = None;
            self.backend.finish(pid, pending.ret)?;
        }
        if self.backend.at(pid) == At::User {
            self.backend.run(pid, expect.unwrap_or(Expect::Injected))?;
        }
        Ok(())
    }

    /// A record that needs what another task has not done yet can only wait if nobody shares memory with its task.
    pub(super) fn may_wait(&self, record: &Record) -> Result<()> {
        let shares = self.tasks.get(&record.head.tid).is_some_and(|task| task.shares);
        if !shares || !self.takes_turns() {
            return Ok(());
        }
        Err(ReplayError::Unsupported {
            tid: record.head.tid,
            call: super::error::Short(&record.head).to_string(),
            why: "it returned before the call of another task that it waited for, and the two share memory".to_owned(),
        })
    }

    /// A call that made memory which others can have.
    pub(super) fn note_sharing(&mut self, record: &Record) {
        if record.kind() == Some(Kind::Syscall) && record.head.flags & flags::SHARED != 0 && record.head.ret >= 0 {
            self.share(record.head.tid);
        }
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
