//! What the tasks of a frozen container have that only their tracer can read: the signals that wait for them, and their registers.
//! Asked for from another thread.

use super::lone::LoneWaits;
use super::{Gate, GateEvent, TICK};
use crate::golive::Bytes;
use crate::golive::signals::{self, PendingSignals};
use crate::sys::ptrace::{self, Pid, Stop, Wait, Waited};
use crate::verify::registers::TaskRegisters;
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a frozen task may take to stop for the tracer.
const STOP_BOUND: Duration = Duration::from_millis(50);
/// How long the gate may take to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(1);
/// How long it may wait for one task alone before that counts as frozen on the way.
const LONE_BOUND: Duration = Duration::from_millis(5);
/// The signal that takes a gate's thread out of its wait. Its handler does nothing.
pub(super) const BELL: Signal = Signal::SIGURG;

pub(super) extern "C" fn hear(_: i32) {}

/// What a task has at the freeze.
#[derive(Debug)]
pub struct Stopped {
    /// The signals that wait for it, those that the gate holds among them.
    pub signals: PendingSignals,
    pub registers: TaskRegisters,
}

/// Why a gate does not say what the tasks of a frozen container have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// They have to run on before they can be asked again.
    #[error("a task was frozen on its way through a call that its tracer waits for, as at a program's start")]
    Busy,
    #[error("their tracer has not answered in time")]
    Late,
    #[error("their tracer has ended")]
    Ended,
}

impl NoAnswer {
    /// Whether it may answer when the container has run on.
    #[must_use]
    pub const fn may_answer_later(self) -> bool {
        !matches!(self, Self::Ended)
    }
}

/// Asks for what the tasks have.
#[derive(Debug)]
pub(super) struct Question(pub(super) mpsc::Sender<Vec<Stopped>>);

/// Speaks to a gate's thread.
#[derive(Debug)]
pub struct GateHandle {
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) lone: LoneWaits,
    pub(super) thread: nix::sys::pthread::Pthread,
}

impl GateHandle {
    /// What the tasks of a frozen container have. Tasks that do not stop for the gate, as in vfork, are left out.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn stopped(&self) -> Result<Vec<Stopped>, NoAnswer> {
        let (answer, pending) = mpsc::channel();
        self.questions.send(Question(answer)).map_err(|_| NoAnswer::Ended)?;
        let begun = Instant::now();
        let mut lone = (None, begun);
        while begun.elapsed() < ANSWER_BOUND {
            // Again and again: the bell may ring just before the wait begins.
            nix::sys::pthread::pthread_kill(self.thread, BELL).map_err(|_| NoAnswer::Ended)?;
            match pending.recv_timeout(TICK) {
                Ok(pending) => return Ok(pending),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(NoAnswer::Ended),
            }
            let now = self.lone.current();
            if now.is_none() || now != lone.0 {
                lone = (now, Instant::now());
            } else if lone.1.elapsed() >= LONE_BOUND {
                return Err(NoAnswer::Busy);
            }
        }
        Err(NoAnswer::Late)
    }
}

impl<F: FnMut(GateEvent)> Gate<F> {
    /// Stops each task of a frozen container for a look at its queues and registers. It stays frozen.
    pub(super) fn stopped(&mut self) -> Vec<Stopped> {
        let mut all = Vec::new();
        let mut processes = HashSet::new();
        for pid in self.tasks.keys().copied().collect::<Vec<_>>() {
            let Ok(numbers) = ptrace::numbers(pid) else { continue };
            if !self.halt(pid) {
                continue;
            }
            let looked = look(pid, numbers.ns_tid);
            if !self.paused.contains_key(&pid) && self.go_on(pid, 0).is_err() {
                // Killed meanwhile; its end is reported next.
                continue;
            }
            let (Ok(mut stopped), Some(task)) = (looked, self.tasks.get(&pid)) else { continue };
            if !processes.insert(numbers.tgid) {
                // Each task shows the queue of its process.
                stopped.signals.process.clear();
            }
            for held in task.held.iter().chain(&task.sent) {
                let signals = &mut stopped.signals;
                let queue = if held.for_task() { &mut signals.thread } else { &mut signals.process };
                queue.push(Bytes(held.info.to_vec()));
            }
            all.push(stopped);
        }
        all
    }

    /// Brings a frozen task to a stop for the gate, unless it stands in one. What it stopped for before, it gets over first: a signal
    /// whose delivery the gate had not yet let pass when the container was frozen is delivered, and recorded, now.
    fn halt(&mut self, pid: Pid) -> bool {
        if self.paused.contains_key(&pid) {
            return true;
        }
        if ptrace::interrupt(pid).is_err() {
            return false;
        }
        let until = Instant::now() + STOP_BOUND;
        loop {
            match ptrace::wait(Wait::For(pid), true) {
                Ok(Waited::Stopped(_, Stop::Event | Stop::Group(_))) => return true,
                Ok(Waited::Stopped(_, stop)) => {
                    let handled = self.handle(pid, stop);
                    if self.paused.contains_key(&pid) {
                        return true;
                    }
                    if handled.is_err() || !self.tasks.contains_key(&pid) {
                        return false;
                    }
                }
                Ok(Waited::NotYet) if Instant::now() < until => std::thread::sleep(Duration::from_micros(20)),
                _ => return false,
            }
        }
    }
}

fn look(pid: Pid, ns_tid: i32) -> io::Result<Stopped> {
    let registers = TaskRegisters::read(ns_tid.unsigned_abs(), pid)?;
    Ok(Stopped { signals: signals::peek_pending(ns_tid, pid)?, registers })
}
