//! Signals: held until the task's next call, and delivered there.

use super::place::{PLACE_BOUND, Placing};
use super::{Gate, GateEvent};
use crate::clocks;
use crate::sys::breakpoint::{TRAP_PERF, is_nobody_s};
use crate::sys::ptrace::{self, Pid, RESUME_FLAG, Resume, SIGINFO_BYTES};
use crate::sys::signals::{SignalSets, raised_by_itself, siginfo_code};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a task may compute while a signal waits for its next system call: its own time, so that a busy machine does not count.
/// Behind a call it costs a replica nothing to find the place; in user code it costs the more the longer ago the last call is.
pub const HOLD_BOUND: Duration = Duration::from_millis(2);
/// Entries and exits of calls that are watched in a handler for its return.
const WATCHED_CALLS: u32 = 256;

#[derive(Debug)]
pub(super) struct Held {
    pub(super) signal: i32,
    pub(super) info: [u8; SIGINFO_BYTES],
}

#[derive(Debug, Default)]
pub(super) struct Task {
    /// Signals that wait for a call.
    pub(super) held: VecDeque<Held>,
    /// What the task's process had computed when the first of them came.
    pub(super) since: Option<Duration>,
    /// Signals that were sent again and are on their way to their delivery.
    pub(super) sent: VecDeque<Held>,
    /// Handlers that have not returned, as far as they are watched.
    pub(super) handlers: u32,
    /// Entries and exits of calls since the last of them began.
    pub(super) watched: u32,
    /// In rt_sigreturn.
    pub(super) returning: bool,
    /// Behind rt_sigreturn, with a signal that comes before the next instruction.
    pub(super) returned: bool,
    /// The bound has passed: the task has been told to stop.
    pub(super) overdue: bool,
    /// It makes no calls, and goes on to a function's return.
    pub(super) placing: Option<Placing>,
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

impl Held {
    /// Sent to the task alone and not to its process.
    pub(super) fn for_task(&self) -> bool {
        siginfo_code(&self.info) == libc::SI_TKILL
    }
}

impl<F: FnMut(GateEvent)> Gate<F> {
    /// A call boundary: the first of the held signals goes its way. Sent from here, the kernel queues it, the call is interrupted
    /// as by any signal, and the task stops again for its delivery.
    pub(super) fn boundary(&mut self, pid: Pid) -> ptrace::Result<()> {
        let Some(task) = self.tasks.get_mut(&pid) else { return ptrace::resume(pid, Resume::Cont, 0) };
        if task.handlers > 0 || task.returning {
            task.watch_return(pid)?;
        }
        task.placing = None;
        let Some(held) = task.next_to_send() else { return self.go_on(pid, 0) };
        if task.held.is_empty() {
            task.since = None;
        }
        let signal = held.signal;
        task.sent.push_back(held);
        self.go_on(pid, signal)
    }

    pub(super) fn signal(&mut self, pid: Pid, signal: i32) -> ptrace::Result<()> {
        if signal == libc::SIGURG
            && let Some(why) = self.recorder.as_ref().and_then(|recorder| recorder.takes_hold(pid.unsigned_abs()))
        {
            return self.held(pid, why);
        }
        let info = ptrace::siginfo(pid)?;
        if signal == libc::SIGTRAP && siginfo_code(&info) == TRAP_PERF {
            return self.at_breakpoint(pid);
        }
        if signal == libc::SIGTRAP && is_nobody_s(pid, &info, &ptrace::regs(pid)?) {
            return self.go_on(pid, 0);
        }
        let task = self.tasks.entry(pid).or_default();
        // A real-time signal that came by itself waits beside the one that was sent again; of the others the kernel keeps one.
        let again = signal < libc::SIGRTMIN() || [libc::SI_KERNEL, libc::SI_TKILL].contains(&siginfo_code(&info));
        if let Some(at) = task.sent.iter().position(|sent| again && sent.signal == signal) {
            let regs = ptrace::regs(pid)?;
            task.returned = false;
            if let Some(sent) = task.sent.remove(at) {
                if !at_boundary(&regs) && clocks::is_inside(pid, regs.rip) {
                    task.held.push_front(sent);
                    task.since.get_or_insert_with(|| computed(pid));
                    return self.go_on(pid, 0);
                }
                ptrace::set_siginfo(pid, &sent.info)?;
            }
            forget_fault(pid, &regs)?;
            task.enter_handler(pid, signal);
            return self.go_on(pid, signal);
        }
        if raised_by_itself(signal, &info) {
            task.enter_handler(pid, signal);
            return self.go_on(pid, signal);
        }
        let regs = ptrace::regs(pid)?;
        let returned = std::mem::take(&mut task.returned) && !clocks::is_inside(pid, regs.rip);
        if returned || at_boundary(&regs) {
            forget_fault(pid, &regs)?;
            task.enter_handler(pid, signal);
            return self.go_on(pid, signal);
        }
        task.hold(Held { signal, info });
        task.since.get_or_insert_with(|| computed(pid));
        self.go_on(pid, 0)
    }

    /// Interrupts tasks whose held signals have waited too long.
    pub(super) fn deliver_overdue(&mut self) {
        for (pid, task) in &mut self.tasks {
            let waits = task.placing.as_ref().map(|placing| (placing.since, PLACE_BOUND));
            let Some((since, bound)) = waits.or(task.since.map(|since| (since, HOLD_BOUND))) else { continue };
            if !task.overdue && computed(*pid).saturating_sub(since) > bound {
                task.overdue = true;
                // If it is gone, its end is reported next.
                let _ = ptrace::interrupt(*pid);
            }
        }
    }

    /// A new child, the end of a group stop, or our own interrupt.
    pub(super) fn event(&mut self, pid: Pid) -> ptrace::Result<()> {
        let task = self.tasks.entry(pid).or_default();
        if !std::mem::take(&mut task.overdue) || task.held.is_empty() {
            return self.go_on(pid, 0);
        }
        let regs = ptrace::regs(pid)?;
        if !at_boundary(&regs) {
            // A replica cannot get it there. A moment later the task is elsewhere.
            if clocks::is_inside(pid, regs.rip) {
                return self.go_on(pid, 0);
            }
            let now = computed(pid);
            task.placing = match task.placing.take() {
                Some(placing) => placing.settle(pid, now),
                None => Placing::begin(pid, now),
            };
            if task.placing.is_some() {
                return self.go_on(pid, 0);
            }
        }
        task.placing = None;
        let Some(held) = task.next_to_send() else { return self.go_on(pid, 0) };
        let signal = held.signal;
        task.since = if task.held.is_empty() { None } else { Some(computed(pid)) };
        task.sent.push_back(held);
        if ptrace::tkill(pid, signal).is_err() {
            self.tasks.entry(pid).or_default().sent.clear();
        }
        self.go_on(pid, 0)
    }

    /// A task has come to a function's return, or another place: if it is to get its signal there, it does. If it was on its way to a place
    /// where others come before it, they have come by this stop.
    fn at_breakpoint(&mut self, pid: Pid) -> ptrace::Result<()> {
        if let Some(serial) = &self.serial {
            serial.arrived(pid);
        }
        let regs = ptrace::regs(pid)?;
        let task = self.tasks.entry(pid).or_default();
        if !task.placing.as_mut().is_some_and(|placing| placing.hit(regs.rip, computed(pid))) {
            return self.go_on(pid, 0);
        }
        task.placing = None;
        let Some(held) = task.next_to_send() else { return self.go_on(pid, 0) };
        task.since = if task.held.is_empty() { None } else { Some(computed(pid)) };
        forget_fault(pid, &regs)?;
        ptrace::set_siginfo(pid, &held.info)?;
        task.enter_handler(pid, held.signal);
        self.go_on(pid, held.signal)
    }
}

/// CPU time of a task's process; all there is if nobody can tell, so that its signals are not held for ever.
fn computed(pid: Pid) -> Duration {
    let of = |pid: Pid| {
        let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid));
        clock.and_then(nix::time::ClockId::now).map(Duration::from).ok()
    };
    // A process has a clock under its own number alone.
    of(pid).or_else(|| of(ptrace::numbers(pid).ok()?.tgid)).unwrap_or(Duration::MAX)
}

/// A task gets a signal that it has not raised itself. The processor marks the flags with which it left user mode for a page fault or
/// a breakpoint, and the kernel keeps them in the handler's frame: a replica comes there by another way, and leaves the mark out, too.
fn forget_fault(pid: Pid, regs: &ptrace::Regs) -> ptrace::Result<()> {
    if regs.eflags & RESUME_FLAG == 0 {
        return Ok(());
    }
    ptrace::set_regs(pid, &ptrace::Regs { eflags: regs.eflags & !RESUME_FLAG, ..*regs })
}

/// True where a task is behind a system call, or before a handler's first instruction: a place that a replica can find.
fn at_boundary(regs: &ptrace::Regs) -> bool {
    regs.orig_rax.cast_signed() >= 0
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
