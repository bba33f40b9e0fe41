//! The ends of processes: of a recording that is to prove its replays, the memory of each process at its end goes into the log.
//!
//! A task that ends stops once more while its memory is whole (`PTRACE_EVENT_EXIT`). It stays there until all tasks of its process
//! stand there, too: then nobody writes to that memory any more, and it is hashed. Not waited for are the others of a task that ends
//! alone, by `exit`, or because another of its process enters a new image.
//!
//! Nothing waits longer than [`END_BOUND`]: a process that has not come to its end by then ends without a print, and the log says so.

use super::{Gate, GateEvent};
use crate::sys::kcmp;
use crate::sys::ptrace::{self, Pid, Regs, Resume};
use crate::sys::threads;
use crate::verify::EndPrint;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long the tasks of a process may take to come to their end after the first of them.
const END_BOUND: Duration = Duration::from_millis(500);

/// A process at its end.
#[derive(Debug)]
struct Ending {
    /// Its tasks that stand there.
    tasks: Vec<Pid>,
    /// One of them has ended the whole process itself.
    exits: bool,
    since: Instant,
}

/// Processes at their end, by number on the host.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Whether anybody wants to know.
    wanted: bool,
    ending: HashMap<Pid, Ending>,
    /// Processes in another's memory, and whose that is.
    borrowers: HashMap<Pid, Pid>,
}

impl Ends {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Whether a task stands at its end.
    pub(super) fn any(&self) -> bool {
        !self.ending.is_empty()
    }

    fn is_held(&self, pid: Pid) -> bool {
        self.ending.values().any(|ending| ending.tasks.contains(&pid))
    }
}

impl<F: FnMut(GateEvent)> Gate<F> {
    /// A task has made another, which stands still or has not moved: does it share memory with a process that is not its own?
    pub(super) fn note_borrower(&mut self, pid: Pid, child: Pid, vfork: bool) {
        if !self.ends.wanted || !(vfork || kcmp::same_memory(pid, child).unwrap_or(false)) {
            return;
        }
        let tgid = |pid| ptrace::numbers(pid).map(|numbers| numbers.tgid);
        if let (Ok(parent), Ok(child)) = (tgid(pid), tgid(child))
            && parent != child
        {
            self.ends.borrowers.insert(child, parent);
        }
    }

    /// A task's process has entered an image of its own.
    pub(super) fn owns_its_memory(&mut self, tgid: Pid) {
        self.ends.borrowers.remove(&tgid);
    }

    /// A task stands before its end.
    pub(super) fn exiting(&mut self, pid: Pid) -> ptrace::Result<()> {
        let (Ok(numbers), Ok(regs)) = (ptrace::numbers(pid), ptrace::regs(pid)) else {
            self.ends_alone(pid);
            return Ok(());
        };
        let tgid = numbers.tgid;
        if !self.ends.ending.contains_key(&tgid) && makes(&regs, libc::SYS_exit) && !self.others(tgid, pid).is_empty() {
            self.ends_alone(pid);
            return Ok(());
        }
        let new = || Ending { tasks: Vec::new(), exits: false, since: Instant::now() };
        let ending = self.ends.ending.entry(tgid).or_insert_with(new);
        ending.tasks.push(pid);
        ending.exits |= makes(&regs, libc::SYS_exit_group);
        self.try_end(tgid);
        Ok(())
    }

    /// Looks again at the processes of which tasks stand at their end.
    pub(super) fn try_ends(&mut self) {
        for tgid in self.ends.ending.keys().copied().collect::<Vec<_>>() {
            self.try_end(tgid);
        }
    }

    /// Lets a process's tasks go on to their end once all stand before it, or none is to be waited for.
    fn try_end(&mut self, tgid: Pid) {
        let Some(Ending { exits, since, .. }) = self.ends.ending.get(&tgid) else { return };
        let (exits, late) = (*exits, since.elapsed() > END_BOUND);
        let others = self.others(tgid, 0);
        let print = if others.is_empty() {
            Some(self.print(tgid))
        } else if !exits && others.iter().any(|other| is_in_exec(*other)) {
            None
        } else if late {
            Some(Err("its tasks did not all come to their end in time".to_owned()))
        } else {
            return;
        };
        let Some(Ending { tasks, .. }) = self.ends.ending.remove(&tgid) else { return };
        let process = print.map(|print| {
            self.ends.borrowers.remove(&tgid);
            (ptrace::namespace_tid(tgid).unwrap_or(0).unsigned_abs(), print.map(Box::new))
        });
        self.let_end(tasks, process);
    }

    /// A task ends whose process goes on, or of which nothing can be known.
    pub(super) fn ends_alone(&mut self, pid: Pid) {
        self.let_end(vec![pid], None);
    }

    fn let_end(&mut self, tasks: Vec<Pid>, process: Option<(u32, Result<Box<EndPrint>, String>)>) {
        (self.tell)(GateEvent::Ends { host_tids: tasks.iter().map(|pid| pid.unsigned_abs()).collect(), process });
        for pid in tasks {
            // Killed meanwhile: its end is reported next.
            let _ = ptrace::resume(pid, Resume::Cont, 0);
        }
    }

    fn print(&self, tgid: Pid) -> Result<EndPrint, String> {
        let borrows = |(borrower, owner): (&Pid, &Pid)| *borrower == tgid || *owner == tgid;
        if self.ends.borrowers.iter().any(borrows) {
            return Err("it shares its memory with another process".to_owned());
        }
        let process = ptrace::namespace_tid(tgid).map_err(|error| error.to_string())?.unsigned_abs();
        let tasks = self.ends.ending.get(&tgid).map_or(&[][..], |ending| &ending.tasks);
        EndPrint::take(process, tasks, || self.is_alone(tgid)).map_err(|error| error.to_string())
    }

    /// No other process of the container can write anything any more.
    fn is_alone(&self, tgid: Pid) -> bool {
        let others = self.tasks.keys().filter(|pid| !ptrace::is_zombie(**pid).unwrap_or(true));
        { others }.all(|pid| ptrace::numbers(*pid).map_or(true, |numbers| numbers.tgid == tgid))
    }

    /// The tasks of a process that have not ended and do not stand before their end, but for `but`.
    fn others(&self, tgid: Pid, but: Pid) -> Vec<Pid> {
        threads::of(tgid)
            .filter(|pid| *pid != but && !self.ends.is_held(*pid) && !ptrace::is_zombie(*pid).unwrap_or(true))
            .collect()
    }
}

/// Whether a task is inside this call.
fn makes(regs: &Regs, call: i64) -> bool {
    const ENOSYS: i64 = -(libc::ENOSYS as i64);
    regs.orig_rax.cast_signed() == call && regs.rax.cast_signed() == ENOSYS
}

/// Whether a task waits in an exec, as /proc/PID/syscall shows it.
fn is_in_exec(pid: Pid) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call.split(' ').next().and_then(|word| word.parse::<i64>().ok());
    number.is_some_and(|number| [libc::SYS_execve, libc::SYS_execveat].contains(&number))
}
