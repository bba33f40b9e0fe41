//! Processes of more than one task: how they end, and how they enter another image.
//!
//! A task that ends alone is a plain wait. When a process ends, or one of its tasks enters a new image, the kernel kills the other
//! tasks, and the tracer has to reap each before the call goes on: the leader's end is told only after all the others', and
//! `execve` waits for them (ptrace(2)).

use super::{Ptrace, Task};
use crate::replay::backend::{At, BackendError, Call, Result};
use crate::sys::ptrace::{self, Pid, Resume, Stop, Wait, Waited};
use std::time::Duration;

/// How often a leader is looked at that ends before its process does: nobody is told of that.
const TICK: Duration = Duration::from_micros(100);

impl Ptrace {
    /// The other tasks of a task's process that have not ended.
    pub(super) fn others(&self, pid: Pid) -> Vec<Pid> {
        let Some(tgid) = self.tasks.get(&pid).map(|task| task.tgid) else { return Vec::new() };
        let alive = |(other, task): (&Pid, &Task)| (*other != pid && task.tgid == tgid && task.at != At::Dead).then_some(*other);
        self.tasks.iter().filter_map(alive).collect()
    }

    /// A task stands at the call that ends it, alone or with its process: makes it and waits for what follows.
    pub(super) fn end(&mut self, pid: Pid, whole_process: bool) -> Result<()> {
        let others = self.others(pid);
        let leads = self.task(pid)?.tgid == pid;
        if others.is_empty() || (!whole_process && !leads) {
            self.resume(pid, Resume::Cont, 0)?;
            return self.reap(pid);
        }
        self.resume(pid, Resume::Cont, 0)?;
        if whole_process { self.reap_process(pid) } else { self.leader_ends(pid) }
    }

    /// Waits for the end of each task of a process that is ending, the leader last.
    ///
    /// Of the others in the order in which they end: the last task of a namespace's first process ends only when all others of the
    /// namespace have been reaped, and which one is the last is the kernel's choice.
    pub(super) fn reap_process(&mut self, pid: Pid) -> Result<()> {
        let tgid = self.task(pid)?.tgid;
        let mut members = self.others(pid);
        members.push(pid);
        members.retain(|member| *member != tgid);
        while !members.is_empty() {
            let before = members.len();
            let mut ending = Vec::with_capacity(before);
            for member in members {
                if self.has_ended(member)? {
                    self.died(member);
                } else {
                    ending.push(member);
                }
            }
            members = ending;
            if members.len() == before {
                std::thread::sleep(TICK);
            }
        }
        if self.ended_leaders.remove(&tgid) || self.task(tgid).is_ok_and(|leader| leader.at != At::Dead) {
            self.wait_end(tgid)?;
        }
        Ok(())
    }

    /// Looks whether a task that is ending has ended, and is reaped by that.
    fn has_ended(&self, pid: Pid) -> Result<bool> {
        match ptrace::wait(Wait::For(pid), true) {
            Ok(Waited::Stopped(_, Stop::Exited(_) | Stop::Killed(_)) | Waited::Nobody) => Ok(true),
            Ok(Waited::Stopped(..)) => match ptrace::resume(pid, Resume::Cont, 0) {
                Err(error) if !error.is_gone() => Err(error.into()),
                _ => Ok(false),
            },
            Ok(Waited::NotYet | Waited::Interrupted) => Ok(false),
            Err(source) => Err(BackendError::Io { what: "waiting", pid, source }),
        }
    }

    /// Waits for a task's end, and for its leader's if that ended before.
    fn reap(&mut self, pid: Pid) -> Result<()> {
        self.wait_end(pid)?;
        let tgid = self.task(pid)?.tgid;
        if tgid != pid && self.others(pid).is_empty() && self.ended_leaders.remove(&tgid) {
            self.wait_end(tgid)?;
        }
        Ok(())
    }

    fn wait_end(&mut self, pid: Pid) -> Result<()> {
        loop {
            match self.wait(pid) {
                Ok(Stop::Exited(_) | Stop::Killed(_)) | Err(BackendError::Gone { .. }) => break,
                Ok(_) => match ptrace::resume(pid, Resume::Cont, 0) {
                    Err(error) if !error.is_gone() => return Err(error.into()),
                    _ => {}
                },
                Err(error) => return Err(error),
            }
        }
        self.died(pid);
        Ok(())
    }

    /// A leader that ends alone stays as a zombie, of which the kernel tells nobody until its process has ended.
    fn leader_ends(&mut self, pid: Pid) -> Result<()> {
        loop {
            let fail = |source| BackendError::Io { what: "waiting", pid, source };
            match ptrace::wait(Wait::For(pid), true).map_err(fail)? {
                Waited::Stopped(_, Stop::Exited(_) | Stop::Killed(_)) => break,
                Waited::Stopped(..) => ptrace::resume(pid, Resume::Cont, 0)?,
                Waited::Nobody => return Err(BackendError::Gone { pid }),
                Waited::NotYet | Waited::Interrupted => {
                    if ptrace::is_zombie(pid).map_err(fail)? {
                        self.ended_leaders.insert(pid);
                        break;
                    }
                    std::thread::sleep(TICK);
                }
            }
        }
        self.died(pid);
        Ok(())
    }

    /// An exec by a task that is not alone in its process: the others end, and it goes on under its leader's number.
    pub(super) fn exec_alone(&mut self, pid: Pid, call: &Call) -> Result<Pid> {
        let tgid = self.task(pid)?.tgid;
        self.enter(pid, call.nr, call.args, "exec")?;
        self.resume(pid, Resume::Cont, 0)?;
        for other in self.others(pid) {
            if other == tgid {
                // The kernel takes its number away: there is nothing to reap.
                self.died(other);
            } else {
                self.wait_end(other)?;
            }
        }
        self.ended_leaders.remove(&tgid);
        loop {
            match self.wait(tgid)? {
                Stop::Execed => break,
                Stop::Signal(_) | Stop::Group(_) | Stop::Event => ptrace::resume(tgid, Resume::Cont, 0)?,
                stop => return Err(self.unexpected(tgid, stop, "exec")),
            }
        }
        self.executed(pid, tgid)
    }

    /// A task has entered a new image, under the number `tgid`.
    pub(super) fn executed(&mut self, pid: Pid, tgid: Pid) -> Result<Pid> {
        let regs = self.leave_exec(tgid)?;
        self.tasks.remove(&pid);
        self.tasks.insert(tgid, Task::new(tgid, regs, At::User));
        Ok(tgid)
    }
}
