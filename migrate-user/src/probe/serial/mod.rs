//! Serialised containers: their tasks take turns on one CPU, so that the order in which they run is an input that can be logged.
//!
//! From the moment on when two tasks of a container can have the same memory, all its tasks are bound to one CPU ([`pin`]) and run
//! under SCHED_FIFO with one priority, for which some kernels want a budget ([`budget`]). So a task runs until it blocks. What makes
//! the log right is the one CPU, since every other way of leaving it is recorded; that these are few is what FIFO is for. Tasks that
//! never block are put behind the others by the [`rotor`], at a call where they make any.

mod aloof;
mod budget;
mod host;
mod limit;
mod pin;
mod places;
mod recover;
mod rotor;

pub use budget::BudgetError;
pub use host::{Host, Rotations};
pub use recover::recover;

use self::budget::Budget;
use self::pin::Pin;
use self::recover::Journal;
use super::ProbeError;
use crate::sys::cgroup::{Cgroup, CgroupError};
use crate::sys::sched;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When a container is serialised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// When its tasks first share memory.
    #[default]
    Auto,
    /// From its first image on.
    Always,
    /// Never: it keeps all CPUs, and cannot be moved once its tasks share memory.
    Never,
}

/// A word that is no [`Policy`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way to serialise a container: auto, always or never")]
pub struct PolicyError(String);

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            other => Err(PolicyError(other.to_owned())),
        }
    }
}

/// Why the tasks of a container do not take turns.
#[derive(Debug, thiserror::Error)]
pub enum SerialError {
    #[error("its tasks share memory, and it was started with migrate.serialise=never")]
    Never,
    #[error("its log has ended")]
    Ended,
    #[error("its tasks cannot be bound to CPU {cpu}: {source}")]
    Pin { cpu: usize, source: io::Error },
    #[error("none of the CPUs that it may use is one that the agent gives to serialised containers")]
    NoCpu,
    #[error("its tasks cannot run under SCHED_FIFO: {0}")]
    Fifo(io::Error),
    #[error("what is to be undone cannot be noted: {0}")]
    Journal(io::Error),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// One recorded container, serialised or not.
#[derive(Debug)]
pub struct Serial {
    policy: Policy,
    slot: u32,
    init: i32,
    cgroup: Cgroup,
    host: Arc<Host>,
    /// Where what is to be undone is noted, for an agent that starts after this one was killed.
    journal: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Free,
    Turns(Box<Placed>),
    Ended,
}

/// What is to be undone.
#[derive(Debug)]
struct Placed {
    cpu: usize,
    pin: Pin,
    budget: Option<Budget>,
}

impl Serial {
    /// `init`: the container's first task. `journal`: a file to note in what is to be undone, for [`recover`]. Nothing happens yet.
    #[must_use]
    pub fn new(policy: Policy, slot: u32, init: i32, cgroup: Cgroup, host: Arc<Host>, journal: Option<PathBuf>) -> Self {
        Self { policy, slot, init, cgroup, host, journal, state: Mutex::new(State::Free) }
    }

    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// The CPU that all its tasks run on, while they take turns.
    #[must_use]
    pub fn cpu(&self) -> Option<usize> {
        match &*self.lock() {
            State::Turns(placed) => Some(placed.cpu),
            State::Free | State::Ended => None,
        }
    }

    /// How often a task has been put behind the others.
    #[must_use]
    pub fn rotations(&self) -> Rotations {
        self.host.rotations(self.slot)
    }

    /// Makes the tasks take turns. The CPU, if they did not yet. The task that this is for, and whom it shares memory with, must be
    /// stopped; `held` is one that stands outside of a call, and whose going on is recorded.
    ///
    /// # Errors
    /// [`SerialError`]; then all is as it was before.
    pub fn begin(&self, held: Option<i32>) -> Result<Option<usize>, SerialError> {
        let mut state = self.lock();
        match *state {
            State::Turns(_) => return Ok(None),
            State::Ended => return Err(SerialError::Ended),
            State::Free if self.policy == Policy::Never => return Err(SerialError::Never),
            State::Free => {}
        }
        let allowed = crate::sys::affinity::of(self.init).map_err(|source| SerialError::Pin { cpu: 0, source })?.cpus();
        let cpu = self.host.place(&allowed).ok_or(SerialError::NoCpu)?;
        match self.place(cpu, held) {
            Ok(placed) => {
                self.host.begin(cpu, self.slot);
                *state = State::Turns(Box::new(placed));
                Ok(Some(cpu))
            }
            Err(error) => {
                self.host.leave(cpu);
                Err(error)
            }
        }
    }

    fn place(&self, cpu: usize, held: Option<i32>) -> Result<Placed, SerialError> {
        let pin = Pin::new(self.init, &self.cgroup, cpu).map_err(|source| SerialError::Pin { cpu, source })?;
        let mut placed = Placed { cpu, pin, budget: None };
        let begun = (|| {
            placed.budget = Budget::take(self.init)?;
            if let Some(path) = &self.journal {
                Journal::new(&self.cgroup, &placed).write(path).map_err(SerialError::Journal)?;
            }
            self.bind(&placed)?;
            // Last: from here on the programs take it for granted that there is one CPU.
            Ok(self.host.recorder().begin_turns(self.slot, cpu, held.map(i32::unsigned_abs))?)
        })();
        match begun {
            Ok(()) => Ok(placed),
            Err(error) => {
                self.release(&mut placed);
                Err(error)
            }
        }
    }

    /// A task is the first to share memory, and stopped behind its call: its next turn begins with a record.
    ///
    /// # Errors
    /// [`SerialError::Probe`].
    pub fn shares(&self, tid: i32) -> Result<(), SerialError> {
        Ok(self.host.recorder().left(self.slot, tid.unsigned_abs())?)
    }

    /// Does the same again with tasks that have changed it themselves.
    ///
    /// # Errors
    /// [`SerialError`].
    pub fn renew(&self) -> Result<(), SerialError> {
        match &*self.lock() {
            State::Turns(placed) => self.bind(placed),
            State::Free | State::Ended => Ok(()),
        }
    }

    /// Binds every task; those that they make meanwhile inherit it, or are found the next time.
    fn bind(&self, placed: &Placed) -> Result<(), SerialError> {
        for_each_task(
            || Ok(self.cgroup.tasks()?),
            |tid| {
                let cpu = placed.cpu;
                gone_is_fine(placed.pin.bind(tid)).map_err(|source| SerialError::Pin { cpu, source })?;
                if let Some(budget) = &placed.budget {
                    gone_is_fine(budget.give(tid)).map_err(|source| BudgetError::Join { group: budget.group(), source })?;
                }
                gone_is_fine(sched::set_fifo(tid, sched::TURNS)).map_err(SerialError::Fifo)
            },
        )
    }

    /// A task stopped and went on, which put it behind the others.
    pub fn rotated(&self) {
        self.host.rotated(self.slot);
    }

    /// A task stands at a breakpoint that is none of a signal's. If it was on its way to be put behind the others, it is behind them now.
    pub fn arrived(&self, pid: i32) {
        self.host.arrived(pid, self.slot);
    }

    /// The tasks run on as they did before, and never take turns again.
    pub fn end(&self) {
        let mut state = self.lock();
        if let State::Turns(mut placed) = std::mem::replace(&mut *state, State::Ended) {
            self.host.end(placed.cpu, self.slot);
            self.host.recorder().end_turns(self.slot);
            self.release(&mut placed);
        }
    }

    /// What a task has that cannot be undone it keeps: it is no worse than before this.
    fn release(&self, placed: &mut Placed) {
        for tid in self.cgroup.tasks().unwrap_or_default() {
            drop(sched::set_usual(tid));
            if let Some(budget) = &placed.budget {
                drop(budget.take_back(tid));
            }
        }
        placed.pin.undo(&self.cgroup);
        if let Some(budget) = placed.budget.take() {
            budget.end();
        }
        if let Some(path) = &self.journal {
            // Whoever finds it undoes what has been undone.
            drop(std::fs::remove_file(path.with_extension("turns")));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        self.end();
    }
}

/// Does something with every task of a list, and with those that come onto it meanwhile, until there are no new ones.
fn for_each_task<E>(list: impl Fn() -> Result<Vec<i32>, E>, mut act: impl FnMut(i32) -> Result<(), E>) -> Result<(), E> {
    let mut seen = HashSet::new();
    loop {
        let new: Vec<i32> = list()?.into_iter().filter(|tid| seen.insert(*tid)).collect();
        if new.is_empty() {
            return Ok(());
        }
        new.into_iter().try_for_each(&mut act)?;
    }
}

/// A task that has ended meanwhile needs nothing any more.
fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// Lets the calling thread run whenever it can, before tasks that take turns. Where that is not allowed it shares what they leave.
pub(super) fn run_above() -> bool {
    sched::set_fifo(0, sched::ABOVE).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_policy_is_told_with_those_that_are() {
        assert_eq!("always".parse(), Ok(Policy::Always));
        let error = "sometimes".parse::<Policy>().unwrap_err();
        assert_eq!(error.to_string(), r#""sometimes" is no way to serialise a container: auto, always or never"#);
    }
}
