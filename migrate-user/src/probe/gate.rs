//! The gate: the agent's hold on the tasks of a recorded container.
//!
//! It traces them with `PTRACE_SEIZE` and no system call stops, so that they run at full speed but for three moments:
//!
//! * **exec**: the new image is held before its first instruction, its vDSO is hidden (clock reads become system calls, which the
//!   probes see), and its initial stack goes into the log as an [`Kind::Image`] record.
//! * **fork**: the child is traced from its first instruction on.
//! * **signals**: one that arrives in user code is held until the task's next system call and delivered there, where a replica
//!   can place it exactly. A task that makes no call for [`HOLD_BOUND`] gets it where it is, and the container is no longer
//!   migratable.
//!
//! Tasks that fill the recorder's ring are held, too, until it has been drained ([`Gate::holding`]).
//!
//! If the agent dies, the kernel detaches the tasks and they run on.

use crate::golive::Bytes;
use crate::golive::signals::{self, PendingSignals};
use crate::probe::Recorder;
use crate::record::Record;
use crate::sys::auxv;
use crate::sys::ptrace::{self, Fate, Pid, Resume, SIGINFO_BYTES, Stop, Wait, Waited};
use crate::sys::signals::{SignalSets, raised_by_itself, siginfo_code};
use migrate_common::record::{HEADER_BYTES, Header, Kind};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// How long a task may compute while a signal waits for its next system call: its own time, so that a busy machine does not count.
pub const HOLD_BOUND: Duration = Duration::from_millis(50);
/// How long a frozen task may take to stop for the tracer.
const STOP_BOUND: Duration = Duration::from_millis(50);
/// How long the gate may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(2);
/// Entries and exits of calls that are watched in a handler for its return.
const WATCHED_CALLS: u32 = 256;
/// How often a held signal's bound is looked at.
const TICK: Duration = Duration::from_millis(1);
/// More than this much initial stack no image has: arguments and environment are limited to a quarter of the stack's limit.
const MAX_STACK_BYTES: u64 = 8 << 20;

/// What the gate tells.
#[derive(Debug)]
pub enum GateEvent {
    /// A task entered a new image: the record to put behind its [`Kind::Exec`].
    Image { host_tid: u32, record: Record },
    /// Something that a replica cannot follow.
    NotMigratable { host_tid: u32, why: String },
    /// A task has ended: no image of its comes any more.
    TaskEnded { host_tid: u32 },
    /// Every traced task has ended.
    Ended,
}

/// Why a container cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    Ptrace(#[from] ptrace::PtraceError),
    #[error("waiting for the tasks of a container: {0}")]
    Wait(io::Error),
}

#[derive(Debug)]
struct Held {
    signal: i32,
    info: [u8; SIGINFO_BYTES],
}

#[derive(Debug, Default)]
struct Task {
    /// Signals that wait for a call.
    held: VecDeque<Held>,
    /// What the task's process had computed when the first of them came.
    since: Option<Duration>,
    /// Signals that were sent again and are on their way to their delivery.
    sent: VecDeque<Held>,
    /// Handlers that have not returned, as far as they are watched.
    handlers: u32,
    /// Entries and exits of calls since the last of them began.
    watched: u32,
    /// In rt_sigreturn.
    returning: bool,
    /// Behind rt_sigreturn, with a signal that comes before the next instruction.
    returned: bool,
    /// The bound has passed: whatever comes is delivered where the task is.
    overdue: bool,
}

impl Task {
    /// Keeps a signal, as the kernel would: one below the real-time signals waits once, with the first one's siginfo, in each of
    /// the two queues, its task's and its process's.
    fn hold(&mut self, new: Held) {
        let merged = new.signal < libc::SIGRTMIN()
            && self.held.iter().any(|held| held.signal == new.signal && held.for_task() == new.for_task());
        if !merged {
            self.held.push_back(new);
        }
    }

    /// The first signal that can be sent: of one number only one is under way, or the kernel would merge them.
    fn next_to_send(&mut self) -> Option<Held> {
        let at = self.held.iter().position(|held| self.sent.iter().all(|sent| sent.signal != held.signal))?;
        self.held.remove(at)
    }
}

impl Held {
    /// Sent to the task alone and not to its process.
    fn for_task(&self) -> bool {
        siginfo_code(&self.info) == libc::SI_TKILL
    }
}

/// Traces the tasks of one container. Lives and dies on one thread: the tracer.
#[derive(Debug)]
pub struct Gate<F> {
    tasks: HashMap<Pid, Task>,
    tell: F,
    questions: mpsc::Receiver<Question>,
    /// Whose programs hold tasks.
    recorder: Option<Arc<Recorder>>,
    /// Tasks that are held while the ring is drained, and since when.
    paused: HashMap<Pid, Instant>,
}

/// Asks for the signals that wait.
#[derive(Debug)]
struct Question(mpsc::Sender<Vec<PendingSignals>>);

/// Speaks to a gate's thread.
#[derive(Debug)]
pub struct GateHandle {
    questions: mpsc::Sender<Question>,
    thread: nix::sys::pthread::Pthread,
}

/// The signal that takes a gate's thread out of its wait. Its handler does nothing.
const BELL: Signal = Signal::SIGURG;

extern "C" fn hear(_: i32) {}

impl GateHandle {
    /// The signals that wait for the tasks of a frozen container, those that the gate holds among them.
    ///
    /// `None`: the gate has ended, or a task does not stop for it.
    #[must_use]
    pub fn pending(&self) -> Option<Vec<PendingSignals>> {
        let (answer, pending) = mpsc::channel();
        self.questions.send(Question(answer)).ok()?;
        let until = Instant::now() + ANSWER_BOUND;
        while Instant::now() < until {
            // Again and again: the bell may ring just before the wait begins.
            nix::sys::pthread::pthread_kill(self.thread, BELL).ok()?;
            match pending.recv_timeout(TICK) {
                Ok(pending) => return Some(pending),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }
}

impl<F: FnMut(GateEvent)> Gate<F> {
    /// Seizes a container's first task, which its runtime has set up and which has not yet entered its image. From here on the
    /// calling thread is the tracer, and must go on to [`Gate::run`].
    pub fn seize(init: Pid, tell: F) -> Result<(Self, GateHandle), GateError> {
        let quiet = SigAction::new(SigHandler::Handler(hear), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing; without SA_RESTART the wait of this thread ends.
        unsafe { nix::sys::signal::sigaction(BELL, &quiet) }.map_err(|errno| GateError::Wait(errno.into()))?;
        ptrace::seize(init, Fate::RunOn)?;
        let (ask, questions) = mpsc::channel();
        let gate =
            Self { tasks: HashMap::from([(init, Task::default())]), tell, questions, recorder: None, paused: HashMap::new() };
        Ok((gate, GateHandle { questions: ask, thread: nix::sys::pthread::pthread_self() }))
    }

    /// Holds tasks for the recorder when its ring fills up.
    #[must_use]
    pub fn holding(mut self, recorder: Arc<Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Lets tasks go on that were held while the ring was drained.
    fn end_pause(&mut self) -> ptrace::Result<()> {
        if self.paused.is_empty() || !self.recorder.as_ref().is_none_or(|recorder| recorder.is_calm()) {
            return Ok(());
        }
        for (pid, since) in std::mem::take(&mut self.paused) {
            if let Some(recorder) = &self.recorder {
                recorder.count_hold(since.elapsed());
            }
            match self.go_on(pid, 0) {
                // Killed meanwhile; its end is reported next.
                Err(error) if error.is_gone() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Stops each task of a frozen container for a look at its queues. It stays frozen.
    fn pending(&mut self) -> Vec<PendingSignals> {
        let mut all = Vec::new();
        for (pid, task) in &self.tasks {
            let Ok(mut pending) = peek(*pid, self.paused.contains_key(pid)) else { continue };
            let held = task.held.iter().chain(&task.sent).map(|held| Bytes(held.info.to_vec()));
            pending.process.extend(held);
            all.push(pending);
        }
        all
    }

    /// Traces until every task has ended.
    pub fn run(mut self) -> Result<(), GateError> {
        loop {
            let holding = !self.paused.is_empty() || self.tasks.values().any(|task| task.since.is_some());
            match ptrace::wait(Wait::Any, holding).map_err(GateError::Wait)? {
                Waited::Stopped(pid, stop) => match self.handle(pid, stop) {
                    // A task can be killed at any moment, its stop included; its end is reported next.
                    Err(error) if error.is_gone() => {}
                    other => other?,
                },
                Waited::NotYet => {
                    std::thread::sleep(TICK);
                    self.deliver_overdue();
                }
                Waited::Interrupted => {}
                Waited::Nobody => break,
            }
            self.end_pause()?;
            while let Ok(Question(answer)) = self.questions.try_recv() {
                // Whoever asked may have given up.
                drop(answer.send(self.pending()));
            }
        }
        (self.tell)(GateEvent::Ended);
        Ok(())
    }

    fn handle(&mut self, pid: Pid, stop: Stop) -> ptrace::Result<()> {
        match stop {
            Stop::Exited(_) | Stop::Killed(_) => {
                self.tasks.remove(&pid);
                self.paused.remove(&pid);
                (self.tell)(GateEvent::TaskEnded { host_tid: pid.unsigned_abs() });
                Ok(())
            }
            Stop::Execed => {
                if let Some(task) = self.tasks.get_mut(&pid) {
                    (task.handlers, task.returning, task.returned) = (0, false, false);
                }
                self.image(pid)?;
                self.go_on(pid, 0)
            }
            Stop::Forked { child, .. } => {
                self.tasks.entry(child).or_default();
                self.go_on(pid, 0)
            }
            Stop::Event => self.event(pid),
            Stop::Group(_) => ptrace::resume(pid, Resume::Listen, 0),
            Stop::Syscall => self.boundary(pid),
            Stop::Signal(signal) => self.signal(pid, signal),
        }
    }

    /// Lets a task go on: to its next call if a signal waits for one.
    fn go_on(&mut self, pid: Pid, signal: i32) -> ptrace::Result<()> {
        let waiting = self.tasks.get(&pid).is_some_and(|task| !task.held.is_empty() || task.handlers > 0 || task.returning);
        ptrace::resume(pid, if waiting { Resume::Syscall } else { Resume::Cont }, signal)
    }

    /// A call boundary: the first of the held signals goes its way. Sent from here, the kernel queues it, the call is interrupted
    /// as by any signal, and the task stops again for its delivery.
    fn boundary(&mut self, pid: Pid) -> ptrace::Result<()> {
        let Some(task) = self.tasks.get_mut(&pid) else { return ptrace::resume(pid, Resume::Cont, 0) };
        if task.handlers > 0 || task.returning {
            task.watch_return(pid)?;
        }
        let Some(held) = task.next_to_send() else { return self.go_on(pid, 0) };
        if task.held.is_empty() {
            task.since = None;
        }
        let signal = held.signal;
        task.sent.push_back(held);
        self.go_on(pid, signal)
    }

    fn signal(&mut self, pid: Pid, signal: i32) -> ptrace::Result<()> {
        if signal == libc::SIGURG && self.recorder.as_ref().is_some_and(|recorder| recorder.takes_hold(pid.unsigned_abs())) {
            self.paused.insert(pid, Instant::now());
            return Ok(());
        }
        let info = ptrace::siginfo(pid)?;
        let task = self.tasks.entry(pid).or_default();
        if let Some(at) = task.sent.iter().position(|sent| sent.signal == signal) {
            if let Some(sent) = task.sent.remove(at) {
                ptrace::set_siginfo(pid, &sent.info)?;
            }
            task.returned = false;
            task.enter_handler(pid, signal);
            return self.go_on(pid, signal);
        }
        if raised_by_itself(signal, &info) || std::mem::take(&mut task.returned) || at_boundary(&ptrace::regs(pid)?) {
            task.enter_handler(pid, signal);
            return self.go_on(pid, signal);
        }
        task.hold(Held { signal, info });
        task.since.get_or_insert_with(|| computed(pid));
        self.go_on(pid, 0)
    }

    /// Interrupts tasks whose held signals have waited too long.
    fn deliver_overdue(&mut self) {
        for (pid, task) in &mut self.tasks {
            if task.since.is_some_and(|since| computed(*pid).saturating_sub(since) > HOLD_BOUND) && !task.overdue {
                task.overdue = true;
                // If it is gone, its end is reported next.
                let _ = ptrace::interrupt(*pid);
            }
        }
    }

    /// A new child, the end of a group stop, or our own interrupt.
    fn event(&mut self, pid: Pid) -> ptrace::Result<()> {
        let task = self.tasks.entry(pid).or_default();
        if !task.overdue {
            return self.go_on(pid, 0);
        }
        let Some(held) = task.next_to_send() else {
            task.overdue = false;
            return self.go_on(pid, 0);
        };
        let signal = held.signal;
        let computing = !at_boundary(&ptrace::regs(pid)?);
        task.since = if task.held.is_empty() { None } else { Some(computed(pid)) };
        task.sent.push_back(held);
        task.overdue = false;
        if computing {
            let why = format!("signal {signal} came while a task computed for more than {} ms", HOLD_BOUND.as_millis());
            (self.tell)(GateEvent::NotMigratable { host_tid: pid.unsigned_abs(), why });
        }
        if ptrace::tgkill(pid, pid, signal).is_err() {
            self.tasks.entry(pid).or_default().sent.clear();
        }
        self.go_on(pid, 0)
    }

    fn image(&mut self, pid: Pid) -> ptrace::Result<()> {
        let host_tid = pid.unsigned_abs();
        let regs = ptrace::regs(pid)?;
        match initial_stack(pid, regs.rsp) {
            Ok(stack) => {
                let head = Header {
                    len: HEADER_BYTES as u32,
                    kind: Kind::Image as u8,
                    host_tid,
                    args: [regs.rsp, regs.rip, 0, 0, 0, 0],
                    ..Header::default()
                };
                let mut record = Record { head, payload: Vec::new() };
                record.push_segment(regs.rsp, &stack);
                (self.tell)(GateEvent::Image { host_tid, record });
            }
            Err(error) => {
                let why = format!("the first stack of a new image could not be read or changed: {error}");
                (self.tell)(GateEvent::NotMigratable { host_tid, why });
            }
        }
        Ok(())
    }
}

impl Task {
    /// A signal is delivered: if it has a handler, the task's calls are watched until the handler returns. Its return is a call
    /// boundary that no register shows: signals that waited for it come before the next instruction.
    fn enter_handler(&mut self, pid: Pid, signal: i32) {
        // Of a task that is gone there is nothing to watch.
        if SignalSets::of(pid).unwrap_or_default().has_handler(signal) {
            self.handlers += 1;
            self.watched = 0;
        }
    }

    /// A watched call's entry or exit: is it the handler's return?
    fn watch_return(&mut self, pid: Pid) -> ptrace::Result<()> {
        let nr = ptrace::regs(pid)?.orig_rax.cast_signed();
        if self.returning {
            self.returning = false;
            self.returned = SignalSets::of(pid).unwrap_or_default().deliverable();
            return Ok(());
        }
        self.watched += 1;
        if nr == libc::SYS_rt_sigreturn {
            self.handlers -= 1;
            self.returning = true;
        } else if self.watched > WATCHED_CALLS {
            // It left its handler by a jump, or works there.
            self.handlers = 0;
        }
        Ok(())
    }
}

/// CPU time of a task's process; all there is if nobody can tell, so that its signals are not held for ever.
fn computed(pid: Pid) -> Duration {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid));
    clock.and_then(nix::time::ClockId::now).map_or(Duration::MAX, Duration::from)
}

/// The signals in a frozen task's queues. `stopped`: it stands still for its tracer already.
fn peek(pid: Pid, stopped: bool) -> io::Result<PendingSignals> {
    let ns_tid = crate::sys::ptrace::namespace_tid(pid)?;
    if stopped {
        return signals::peek_pending(ns_tid, pid);
    }
    ptrace::interrupt(pid).map_err(|error| error.source)?;
    let until = Instant::now() + STOP_BOUND;
    loop {
        match ptrace::wait(Wait::For(pid), true)? {
            Waited::Stopped(_, Stop::Event | Stop::Group(_)) => break,
            Waited::NotYet if Instant::now() < until => std::thread::sleep(Duration::from_micros(20)),
            other => return Err(io::Error::other(format!("the task does not stop: {other:?}"))),
        }
    }
    let pending = signals::peek_pending(ns_tid, pid);
    ptrace::resume(pid, Resume::Cont, 0).map_err(|error| error.source)?;
    pending
}

/// True where a task is behind a system call, or before a handler's first instruction: a place that a replica can find.
fn at_boundary(regs: &ptrace::Regs) -> bool {
    regs.orig_rax.cast_signed() >= 0
}

/// Hides the vDSO in the stack of a task at its first instruction, and returns that stack from its pointer up.
fn initial_stack(pid: Pid, sp: u64) -> io::Result<Vec<u8>> {
    let end = stack_end(pid, sp)?;
    let len = end.saturating_sub(sp).min(MAX_STACK_BYTES);
    let mut stack = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    ptrace::read_memory(pid, sp, &mut stack)?;
    if let Some(at) = auxv::hide_vdso(&mut stack) {
        ptrace::write_memory(pid, sp + at as u64, &stack[at..at + 8])?;
    }
    Ok(stack)
}

/// End of the mapping that holds the stack pointer.
fn stack_end(pid: Pid, sp: u64) -> io::Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    maps.lines()
        .filter_map(|line| {
            let (from, to) = line.split_once(' ')?.0.split_once('-')?;
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
        })
        .find(|(from, to)| (*from..*to).contains(&sp))
        .map(|(_, to)| to)
        .ok_or_else(|| io::Error::other("no mapping holds the stack pointer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(signal: i32, code: i32, sender: u8) -> Held {
        let mut info = [0; SIGINFO_BYTES];
        info[8..12].copy_from_slice(&code.to_ne_bytes());
        info[12] = sender;
        Held { signal, info }
    }

    #[test]
    fn a_signal_that_waits_already_is_not_held_twice() {
        let mut task = Task::default();
        task.hold(held(libc::SIGALRM, libc::SI_KERNEL, 1));
        task.hold(held(libc::SIGALRM, libc::SI_KERNEL, 2));
        task.hold(held(libc::SIGALRM, libc::SI_TKILL, 3));
        task.hold(held(libc::SIGRTMIN(), libc::SI_QUEUE, 4));
        task.hold(held(libc::SIGRTMIN(), libc::SI_QUEUE, 5));
        let senders: Vec<u8> = task.held.iter().map(|held| held.info[12]).collect();
        assert_eq!(senders, [1, 3, 4, 5]);
    }

    #[test]
    fn of_one_number_only_one_is_sent_before_it_is_delivered() {
        let mut task = Task::default();
        task.hold(held(libc::SIGALRM, libc::SI_KERNEL, 1));
        task.hold(held(libc::SIGALRM, libc::SI_TKILL, 2));
        task.hold(held(libc::SIGUSR1, libc::SI_USER, 3));
        let first = task.next_to_send().unwrap();
        task.sent.push_back(first);
        assert_eq!(task.next_to_send().unwrap().info[12], 3);
        assert!(task.next_to_send().is_none());
        task.sent.clear();
        assert_eq!(task.next_to_send().unwrap().info[12], 2);
    }
}
