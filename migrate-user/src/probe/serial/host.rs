//! The serialised containers of a machine: who is on which CPU, and how often their tasks were put behind others.

use super::aloof::Aloof;
use super::places::Places;
use super::{rotor, run_above};
use crate::probe::Recorder;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often a task of a container was put behind the others because it had held the CPU for long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotations {
    /// Behind a call.
    pub at_calls: u64,
    /// In user code, since it made no call.
    pub in_user_code: u64,
}

/// Shared by all containers of an agent.
#[derive(Debug)]
pub struct Host {
    recorder: Arc<Recorder>,
    /// CPUs for serialised containers; none: all.
    cpus: Vec<usize>,
    inner: Mutex<Inner>,
    places: Places,
}

#[derive(Debug, Default)]
struct Inner {
    /// CPU -> containers on it, those that are just coming or going among them.
    taken: HashMap<usize, u32>,
    /// CPU -> slots whose tasks take turns there.
    turns: HashMap<usize, Vec<u32>>,
    /// CPUs whose rotor runs.
    rotors: HashSet<usize>,
    /// Slot -> its rotations.
    rotations: HashMap<u32, Rotations>,
    /// Of containers that are gone.
    past: Rotations,
    /// Keeps the agent's own threads off those CPUs.
    aloof: Aloof,
}

impl Inner {
    /// Another number of containers on a CPU.
    fn change(&mut self, cpu: usize, to: impl FnOnce(u32) -> u32) {
        let count = self.taken.entry(cpu).or_default();
        let before = std::mem::replace(count, to(*count));
        if (before == 0) != (*count == 0) {
            let taken: Vec<usize> = self.taken.iter().filter(|(_, count)| **count != 0).map(|(cpu, _)| *cpu).collect();
            self.aloof.keep_off(&taken);
        }
    }
}

impl Host {
    /// `cpus`: those that serialised containers may have; empty: all.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>, cpus: Vec<usize>) -> Self {
        Self { recorder, cpus, inner: Mutex::default(), places: Places::default() }
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Takes the CPU with the fewest serialised containers; of equal ones the highest, since a replica is on its host's highest
    /// and a program can see the number.
    pub(super) fn place(&self, allowed: &[usize]) -> Option<usize> {
        let mut inner = self.lock();
        let may = |cpu: &&usize| self.cpus.is_empty() || self.cpus.contains(cpu);
        let load = |cpu: &usize| inner.taken.get(cpu).copied().unwrap_or(0);
        let cpu = *allowed.iter().filter(may).rev().min_by_key(|cpu| load(cpu))?;
        inner.change(cpu, |count| count + 1);
        Some(cpu)
    }

    pub(super) fn leave(&self, cpu: usize) {
        self.lock().change(cpu, |count| count.saturating_sub(1));
    }

    /// Lets the calling thread, which is a rotor's, run before the tasks that it turns. False: it has to wait for them.
    pub(super) fn rise(&self) -> bool {
        // Who has risen is kept off no CPU: so not while that is being done.
        let _inner = self.lock();
        run_above()
    }

    /// A slot's tasks take turns. The CPU's first starts its rotor.
    pub(super) fn begin(self: &Arc<Self>, cpu: usize, slot: u32) {
        let mut inner = self.lock();
        inner.rotations.insert(slot, Rotations::default());
        inner.turns.entry(cpu).or_default().push(slot);
        if inner.rotors.insert(cpu) {
            rotor::start(Arc::clone(self), cpu);
        }
    }

    pub(super) fn end(&self, cpu: usize, slot: u32) {
        let mut inner = self.lock();
        if let Some(slots) = inner.turns.get_mut(&cpu) {
            slots.retain(|of| *of != slot);
        }
        if let Some(own) = inner.rotations.remove(&slot) {
            inner.past.at_calls += own.at_calls;
            inner.past.in_user_code += own.in_user_code;
        }
        drop(inner);
        self.places.forget(slot);
        self.leave(cpu);
    }

    /// The slots on a CPU. None: its rotor ends.
    pub(super) fn on(&self, cpu: usize) -> Option<Vec<u32>> {
        let mut inner = self.lock();
        let slots = inner.turns.get(&cpu).filter(|slots| !slots.is_empty()).cloned();
        if slots.is_none() {
            inner.rotors.remove(&cpu);
        }
        slots
    }

    pub(super) fn rotated(&self, slot: u32) {
        if let Some(rotations) = self.lock().rotations.get_mut(&slot) {
            rotations.at_calls += 1;
        }
    }

    pub(super) fn rotated_in_user_code(&self, slot: u32) {
        if let Some(rotations) = self.lock().rotations.get_mut(&slot) {
            rotations.in_user_code += 1;
        }
    }

    pub(super) fn arrived(&self, pid: i32, slot: u32) {
        if self.places.arrived(pid) {
            self.rotated_in_user_code(slot);
        }
    }

    pub(super) fn rotations(&self, slot: u32) -> Rotations {
        self.lock().rotations.get(&slot).copied().unwrap_or_default()
    }

    /// Of all containers since the agent started.
    #[must_use]
    pub fn all_rotations(&self) -> Rotations {
        let inner = self.lock();
        inner.rotations.values().fold(inner.past, |sum, own| Rotations {
            at_calls: sum.at_calls + own.at_calls,
            in_user_code: sum.in_user_code + own.in_user_code,
        })
    }

    /// Containers whose tasks take turns.
    #[must_use]
    pub fn containers(&self) -> u64 {
        self.lock().rotations.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
