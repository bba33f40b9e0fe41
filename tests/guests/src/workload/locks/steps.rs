//! What a worker does in one step: it asks for one lock, checks what the lock promises, takes the event down, and gives it back.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ledger::{Ledger, What};
use super::objects::{Got, Scope};
use super::room::{Locks, MEETING, PERMITS, PLACES, ROBUST};
use crate::kit::chain::mix;
use crate::kit::clock::{MS_NS, timespec};
use crate::kit::{Result, fd};

/// A task that competes.
pub struct Worker<'a> {
    /// From 1.
    pub who: u64,
    pub scope: Scope,
    pub locks: &'a Locks,
    pub ledger: &'a Ledger,
    random: u64,
    steps: u64,
}

impl<'a> Worker<'a> {
    /// A worker with a path of its own.
    pub fn new(who: u64, scope: Scope, locks: &'a Locks, ledger: &'a Ledger) -> Result<Self> {
        let random = u64::from_le_bytes(fd::random(8)?[..].try_into()?);
        Ok(Self { who, scope, locks, ledger, random, steps: 0 })
    }

    /// The same worker at other locks.
    pub fn at(&mut self, locks: &'a Locks) {
        self.locks = locks;
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step and a rest.
    pub fn step(&mut self) -> Result {
        self.steps += 1;
        match self.below(8) {
            0 | 1 => self.mutex()?,
            2 => self.read()?,
            3 => self.write()?,
            4 => self.semaphore()?,
            5 => self.put()?,
            6 => self.take()?,
            _ => self.futex()?,
        }
        self.rest(2, 12)
    }

    /// Meets the others of the barrier until it is time to end.
    pub fn meet(&mut self) -> Result {
        let mut meetings = 0;
        loop {
            self.rest(1, 30)?;
            let arrivals = &self.locks.arrivals;
            arrivals.fetch_add(1, Ordering::SeqCst);
            let chosen = self.locks.barrier.wait()?;
            meetings += 1;
            check_eq!(arrivals.load(Ordering::SeqCst), meetings * u64::from(MEETING), "arrivals at the barrier");
            if chosen {
                self.note(What::Barrier, meetings)?;
                self.locks.adjourned.store(self.locks.stopped(), Ordering::SeqCst);
            }
            self.locks.barrier.wait()?;
            if self.locks.adjourned.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
    }

    /// Takes the robust mutex, to die with it.
    pub fn inherit_to_come(&self) -> Result {
        let got = self.locks.mutexes[ROBUST].lock()?;
        self.note(if got == Got::Inherited { What::Inherited } else { What::Mutex }, ROBUST as u64)
    }

    /// Takes an event down.
    pub fn note(&self, what: What, more: u64) -> Result {
        self.ledger.note(self.who, what, more)
    }

    fn mutex(&mut self) -> Result {
        let number = self.below(3) as usize;
        let (mutex, holder) = (&self.locks.mutexes[number], &self.locks.holders[number]);
        let got = if self.below(4) == 0 { mutex.lock_within(MS_NS)? } else { mutex.lock()? };
        if got == Got::TimedOut {
            return self.note(What::TimedOut, number as u64);
        }
        self.enter(holder, "a mutex")?;
        self.note(if got == Got::Inherited { What::Inherited } else { What::Mutex }, number as u64)?;
        self.hold()?;
        holder.store(0, Ordering::SeqCst);
        mutex.unlock()
    }

    fn read(&mut self) -> Result {
        self.locks.read_write.read()?;
        let [one, other] = [0, 1].map(|at: usize| self.locks.pair[at].load(Ordering::SeqCst));
        check_eq!(one, other, "what a writer wrote");
        self.note(What::Read, one)?;
        self.hold()?;
        check_eq!(self.locks.pair[1].load(Ordering::SeqCst), one, "what was written while somebody read");
        self.locks.read_write.unlock()
    }

    fn write(&mut self) -> Result {
        self.locks.read_write.write()?;
        let value = self.locks.pair[0].fetch_add(1, Ordering::SeqCst) + 1;
        self.note(What::Write, value)?;
        self.hold()?;
        check_eq!(self.locks.pair[1].fetch_add(1, Ordering::SeqCst) + 1, value, "what two writers wrote");
        self.locks.read_write.unlock()
    }

    fn semaphore(&mut self) -> Result {
        if !self.locks.semaphore.wait(2 * MS_NS)? {
            return self.note(What::TimedOut, 100);
        }
        let inside = self.locks.inside.fetch_add(1, Ordering::SeqCst) + 1;
        check!(inside <= u64::from(PERMITS), "{inside} tasks have one of {PERMITS} permits");
        self.note(What::Semaphore, inside)?;
        self.hold()?;
        self.locks.inside.fetch_sub(1, Ordering::SeqCst);
        self.locks.semaphore.post()
    }

    fn put(&mut self) -> Result {
        let queue = &self.locks.queue;
        queue.mutex.lock()?;
        let full = || queue.put.load(Ordering::SeqCst) - queue.taken.load(Ordering::SeqCst) == PLACES;
        let mut woken = true;
        while full() && woken {
            woken = queue.not_full.wait(&queue.mutex, 5 * MS_NS)?;
        }
        if full() {
            self.note(What::TimedOut, 101)?;
        } else {
            let number = queue.put.fetch_add(1, Ordering::SeqCst) + 1;
            queue.places[(number % PLACES) as usize].store(number, Ordering::SeqCst);
            self.note(What::Put, number)?;
            queue.not_empty.wake(number.is_multiple_of(3))?;
        }
        queue.mutex.unlock()
    }

    fn take(&mut self) -> Result {
        let queue = &self.locks.queue;
        queue.mutex.lock()?;
        let empty = || queue.put.load(Ordering::SeqCst) == queue.taken.load(Ordering::SeqCst);
        let mut woken = true;
        while empty() && woken {
            woken = queue.not_empty.wait(&queue.mutex, 5 * MS_NS)?;
        }
        if empty() {
            self.note(What::TimedOut, 102)?;
        } else {
            let number = queue.taken.fetch_add(1, Ordering::SeqCst) + 1;
            check_eq!(queue.places[(number % PLACES) as usize].load(Ordering::SeqCst), number, "what the queue had");
            self.note(What::Take, number)?;
            queue.not_full.wake(number.is_multiple_of(3))?;
        }
        queue.mutex.unlock()
    }

    fn futex(&mut self) -> Result {
        self.locks.futex.lock(self.scope)?;
        self.enter(&self.locks.futex_holder, "the futex")?;
        self.note(What::Futex, self.steps)?;
        self.hold()?;
        self.locks.futex_holder.store(0, Ordering::SeqCst);
        self.locks.futex.unlock(self.scope)
    }

    /// Nobody else may be in.
    fn enter(&self, holder: &AtomicU64, what: &str) -> Result {
        let other = holder.swap(self.who, Ordering::SeqCst);
        check_eq!(other, 0, "holder of {what} when {} got it", self.who);
        Ok(())
    }

    /// Sometimes keeps what it has for a moment, so that others have to wait.
    fn hold(&mut self) -> Result {
        if self.below(3) == 0 { self.rest(0, 2) } else { Ok(()) }
    }

    /// Sleeps for a time between two numbers of milliseconds.
    fn rest(&mut self, from_ms: i64, to_ms: i64) -> Result {
        let span_us = (to_ms - from_ms) * 1000;
        let time = timespec(from_ms * MS_NS + self.below(span_us as u64) as i64 * 1000);
        sys!(nanosleep(&raw const time, std::ptr::null_mut())).map(drop)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(mix(0, self.random), 3) % bound
    }
}
