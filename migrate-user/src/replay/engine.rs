//! Order: which task takes which record when.
//!
//! A task that has its result does not move before its next record is known. If that is a signal, it is delivered where the
//! task stands; otherwise the task runs on to its next call at once, so that tasks interleave as they did in the source. At the
//! log's end nobody runs past their last record.
//!
//! Tasks that share memory keep a stricter order: [`super::turns`].
//!
//! Some calls wait for another task although the log has them first (a unix socket's `accept` can return before the `connect`
//! that it answers has): such a record is put aside with all later ones of its task, and tried again after every step of the
//! others.

use super::backend::{At, Backend, Call, Expect};
use super::calls;
use super::calls::timer::Timers;
use super::ends::Witness;
use super::error::{Recent, ReplayError, Result, Short};
use super::last_pid::LastPid;
use super::turns::Turns;
use crate::inodes::Seen;
use crate::record::Record;
use crate::sys::ptrace::Pid;
use migrate_common::record::Kind;
use std::collections::{HashMap, HashSet, VecDeque};

/// How a call was left that has not given the program its result yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// The kernel's result: a restart code or -EINTR.
    pub(super) ret: i64,
    /// The signal set that the call waited with.
    pub(super) mask: Option<u64>,
}

/// A task of the replica.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) pid: Pid,
    /// Its process, as the container numbers it.
    pub(super) tgid: u32,
    /// Its process has memory that other tasks have, too: threads, or mappings.
    pub(super) shares: bool,
    /// Records that wait for another task, with what is known of the one after each.
    waiting: VecDeque<(Record, Option<Expect>)>,
    pub(super) pending: Option<Pending>,
    /// The child of a fork whose return has no record yet.
    pub(super) forked: Option<u32>,
    /// It has entered an image of its own since it was made: a parent in vfork may go on.
    pub(super) execed: bool,
    /// The record of its image is due. One that was killed before its first instruction has none.
    pub(super) imageless: bool,
    /// It has entered the image that its next record tells of.
    pub(super) ahead: bool,
    /// It was switched out, and waits for its turn.
    pub(super) away: bool,
    /// Another task of its process ends it, by an exec or an exit whose record comes later.
    pub(super) doomed: bool,
    /// A signal has ended it, whose effect waits for the record of its end.
    pub(super) dying: Option<i32>,
    /// A signal has stopped it in the source. In the replica nothing has: it just has no records meanwhile.
    pub(super) stopped: bool,
}

impl Task {
    pub(super) fn new(pid: Pid, tgid: u32) -> Self {
        Self {
            pid,
            tgid,
            shares: false,
            waiting: VecDeque::new(),
            pending: None,
            forked: None,
            execed: false,
            imageless: false,
            ahead: false,
            away: false,
            doomed: false,
            dying: None,
            stopped: false,
        }
    }

    /// What ends it found it where it stands: it does not run on.
    pub(super) fn makes_no_more_calls(&self) -> bool {
        self.doomed || self.dying.is_some()
    }
}

/// Whether a record has had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Done,
    /// It needs what another task has not done yet.
    NotYet,
}

/// Replays a log with a backend.
#[derive(Debug)]
pub struct Engine<B> {
    pub(super) backend: B,
    /// By tid in the container's pid namespace.
    pub(super) tasks: HashMap<u32, Task>,
    /// Links of the pipes that are the container's standard streams: output to them is executed.
    pub(super) stdio: HashSet<String>,
    pub(super) timers: Timers,
    /// The signal masks of tasks that are about to go live, which block everything until then.
    pub(super) masks: Vec<(Pid, u64)>,
    pub(super) last_pid: LastPid,
    pub(super) turns: Turns,
    pub(super) seen: Seen,
    pub(super) recent: Recent,
    replayed: u64,
    waiting: usize,
    /// The container's first task has ended, and all others with it: what they still did in the source before the kernel reached
    /// them has no witness.
    pub(super) ended: bool,
    pub(super) witness: Option<Box<dyn Witness>>,
}

impl<B: Backend> Engine<B> {
    /// An engine for a replica whose first task, `init`, stands before the first instruction of its image.
    pub fn new(backend: B, init: Pid, last_pid: LastPid) -> Self {
        let stdio = (0..3).filter_map(|fd| link(init, fd)).filter(|link| link.starts_with("pipe:")).collect();
        let tasks = HashMap::from([(1, Task::new(init, 1))]);
        Self {
            backend,
            tasks,
            stdio,
            timers: Timers::default(),
            masks: Vec::new(),
            last_pid,
            turns: Turns::default(),
            seen: Seen::default(),
            recent: Recent::default(),
            replayed: 0,
            waiting: 0,
            ended: false,
            witness: None,
        }
    }

    /// Records that have had their effect.
    #[must_use]
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// The backend, for what goes beyond the log.
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Tasks that have not ended: tid in the container, host pid.
    pub fn live_tasks(&self) -> impl Iterator<Item = (u32, Pid)> {
        self.tasks.iter().filter(|(_, task)| self.backend.at(task.pid) != At::Dead).map(|(tid, task)| (*tid, task.pid))
    }

    /// The same with each task's process: process, tid, host pid.
    pub fn live_processes(&self) -> Vec<(u32, i32, Pid)> {
        let named = |(tid, pid): (u32, Pid)| Some((self.tasks.get(&tid)?.tgid, tid.cast_signed(), pid));
        self.live_tasks().filter_map(named).collect()
    }

    /// Replays a run of records, which follows the one before it without a hole.
    ///
    /// # Errors
    /// [`ReplayError::Desync`] where replica and log differ; the replica is of no use any more then.
    pub fn feed(&mut self, records: &[Record]) -> Result<()> {
        for (record, run_on) in records.iter().zip(runs_on(records)) {
            if self.ended {
                self.replayed += 1;
                continue;
            }
            // The task that first shares memory was held behind that until all took turns: it had not gone on.
            let took_turns = self.takes_turns();
            if took_turns {
                self.before(record)?;
            }
            let Some(task) = self.tasks.get_mut(&record.head.tid) else {
                return Err(self.desync(record, "a task that exists", "no such task"));
            };
            if task.waiting.is_empty() && self.step(record)? == Step::Done {
                if took_turns {
                    self.after(record, run_on);
                } else {
                    self.go_on(record, run_on)?;
                }
                self.retry()?;
                continue;
            }
            self.may_wait(record)?;
            if let Some(task) = self.tasks.get_mut(&record.head.tid) {
                task.waiting.push_back((record.clone(), run_on));
                self.waiting += 1;
            }
        }
        Ok(())
    }

    /// Checks that nothing waits any more: to be called at the log's end.
    pub fn check_settled(&self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        match self.tasks.iter().find_map(|(tid, task)| Some((*tid, task.waiting.len(), task.waiting.front()?))) {
            Some((tid, count, (record, _))) => Err(ReplayError::Stuck { tid, count, first: Short(&record.head).to_string() }),
            None => Ok(()),
        }
    }

    /// Checks that no process stands still by a signal: to be called before the replica goes live, which has none stopped.
    pub(super) fn check_none_stopped(&self) -> Result<()> {
        let stopped = self.tasks.iter().find(|(_, task)| task.stopped && self.backend.at(task.pid) != At::Dead);
        match stopped {
            Some((tid, _)) => {
                Err(ReplayError::Unsupported { tid: *tid, call: "a stop".to_owned(), why: "a signal has stopped it".to_owned() })
            }
            None => Ok(()),
        }
    }

    fn retry(&mut self) -> Result<()> {
        let mut moved = self.waiting > 0 && !self.ended;
        while std::mem::take(&mut moved) {
            let tids: Vec<u32> = self.tasks.iter().filter(|(_, task)| !task.waiting.is_empty()).map(|(tid, _)| *tid).collect();
            for tid in tids {
                while let Some((record, run_on)) = self.tasks.get_mut(&tid).and_then(|task| task.waiting.pop_front()) {
                    if self.step(&record)? == Step::NotYet {
                        if let Some(task) = self.tasks.get_mut(&tid) {
                            task.waiting.push_front((record, run_on));
                        }
                        break;
                    }
                    self.go_on(&record, run_on)?;
                    self.waiting -= 1;
                    moved = true;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, record: &Record) -> Result<Step> {
        if let Some(task) = self.tasks.get_mut(&record.head.tid) {
            task.stopped = false;
        }
        let dead = self.pid(record).is_ok_and(|pid| self.backend.at(pid) == At::Dead);
        let step = match record.kind() {
            // A task that its process took along on its end tells how the call ended in which that found it.
            Some(Kind::Syscall) if dead && (record.head.ret < 0 || calls::expected(record) == Expect::Injected) => Step::Done,
            Some(Kind::Signal | Kind::Switch) if dead => Step::Done,
            Some(Kind::Syscall) => self.syscall(record)?,
            Some(Kind::Fork) => self.fork(record)?,
            Some(Kind::Exec) => self.exec(record)?,
            Some(Kind::Image) => self.image(record)?,
            Some(Kind::Exit) => self.exit(record)?,
            Some(Kind::Signal) => self.signal(record)?,
            Some(Kind::Switch) => self.switched(record)?,
            Some(Kind::Resume) => Step::Done,
            Some(Kind::Clocks) if dead => Step::Done,
            Some(Kind::Clocks) => self.clocks(record)?,
            Some(Kind::Piece) | None => return Err(self.desync(record, "a record of a log", "a piece of one")),
        };
        if step == Step::NotYet {
            return Ok(step);
        }
        self.note_sharing(record);
        self.seen.note(record);
        self.recent.push(record.head);
        self.replayed += 1;
        Ok(Step::Done)
    }

    /// After a record: its task runs on to its next call, if its next record is known and is one.
    fn go_on(&mut self, record: &Record, run_on: Option<Expect>) -> Result<()> {
        let Some(expect) = run_on.filter(|_| !self.ended) else { return Ok(()) };
        let pid = self.pid(record)?;
        if self.task(record)?.makes_no_more_calls() {
            return Ok(());
        }
        if self.backend.at(pid) == At::User {
            self.backend.run(pid, expect)?;
        }
        Ok(())
    }

    /// The host pid of a record's task.
    pub(super) fn pid(&self, record: &Record) -> Result<Pid> {
        match self.tasks.get(&record.head.tid) {
            Some(task) => Ok(task.pid),
            None => Err(self.desync(record, "a task that exists", "no such task")),
        }
    }

    pub(super) fn task(&mut self, record: &Record) -> Result<&mut Task> {
        if !self.tasks.contains_key(&record.head.tid) {
            return Err(self.desync(record, "a task that exists", "no such task"));
        }
        self.tasks.get_mut(&record.head.tid).ok_or_else(|| ReplayError::Stuck {
            tid: record.head.tid,
            count: 0,
            first: String::new(),
        })
    }

    /// Runs a record's task to its next call, if it is not there.
    pub(super) fn stand_at_call(&mut self, record: &Record) -> Result<Call> {
        let pid = self.pid(record)?;
        let at = match self.backend.at(pid) {
            At::User => self.backend.run(pid, calls::expected(record))?,
            at => at,
        };
        match at {
            At::Call(call) => Ok(call),
            other => Err(self.desync(record, "a system call", &format!("{other:?}"))),
        }
    }

    pub(super) fn desync(&self, record: &Record, expected: &str, found: &str) -> ReplayError {
        self.recent.desync(&record.head, expected.to_owned(), found.to_owned())
    }
}

/// What a descriptor of a task is, as /proc names it.
pub(super) fn link(pid: Pid, fd: i32) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// For each record: may its task run on to its next call, and what will be done with that? Only if its next record is known and no
/// signal.
fn runs_on(records: &[Record]) -> Vec<Option<Expect>> {
    let mut next: HashMap<u32, &Record> = HashMap::new();
    let mut run_on = vec![None; records.len()];
    for (at, record) in records.iter().enumerate().rev() {
        let following = next.insert(record.head.tid, record);
        // Behind an image comes its exec's return, for which nobody has to move.
        if matches!(record.kind(), Some(Kind::Exec | Kind::Image | Kind::Fork | Kind::Exit)) {
            continue;
        }
        if let Some(next) = following
            && matches!(next.kind(), Some(Kind::Syscall | Kind::Fork | Kind::Exec | Kind::Exit))
        {
            run_on[at] = Some(calls::expected(next));
        }
    }
    run_on
}
