//! The chain that every acquisition goes into.

use std::cell::UnsafeCell;
use std::fmt::Write;

use super::objects::{Mutex, Scope};
use crate::kit::chain::{mix, print};
use crate::kit::{Chain, Result};

/// Events of one line.
const EVENTS: usize = 48;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Mutex = 1,
    /// A robust mutex whose holder had died.
    Inherited = 2,
    /// A lock that did not come in time.
    TimedOut = 3,
    Read = 4,
    Write = 5,
    Semaphore = 6,
    Put = 7,
    Take = 8,
    Futex = 9,
    Barrier = 10,
    /// A task that lives for a moment began, and ended.
    Born = 11,
    Gone = 12,
}

/// The chain, under a mutex of its own.
#[repr(C)]
pub struct Ledger {
    mutex: Mutex,
    page: UnsafeCell<Page>,
}

// SAFETY: the page is only touched by whoever holds the mutex.
unsafe impl Sync for Ledger {}

#[repr(C)]
struct Page {
    digest: u64,
    /// Of the line that is being filled.
    number: u64,
    events: [u64; EVENTS],
    used: usize,
}

impl Ledger {
    /// Begins the chain where `chain` is. The memory is zero.
    pub fn init(&self, scope: Scope, chain: &Chain) -> Result {
        self.mutex.init(scope, false)?;
        self.with(|page| {
            page.digest = chain.digest();
            page.number = 1;
            print(&format!("links 0 {:016x}", page.digest))
        })
    }

    /// Takes down that somebody did something; `more` is what else the chain is to depend on.
    pub fn note(&self, who: u64, what: What, more: u64) -> Result {
        self.with(|page| {
            page.events[page.used] = who << 32 | (what as u64) << 24 | more & 0xff_ffff;
            page.digest = mix(page.digest, page.events[page.used]);
            page.used += 1;
            if page.used == EVENTS { page.print() } else { Ok(()) }
        })
    }

    /// Lines printed.
    pub fn lines(&self) -> Result<u64> {
        self.with(|page| Ok(page.number - 1))
    }

    /// Prints what is left and takes the end into `chain`.
    pub fn close(&self, chain: &mut Chain) -> Result {
        self.with(|page| {
            if page.used > 0 {
                page.print()?;
            }
            chain.num(page.number);
            chain.num(page.digest);
            Ok(())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Page) -> Result<T>) -> Result<T> {
        self.mutex.lock()?;
        // SAFETY: the mutex is held, and no work asks for it again.
        let done = work(unsafe { &mut *self.page.get() });
        self.mutex.unlock()?;
        done
    }
}

impl Page {
    fn print(&mut self) -> Result {
        let mut line = format!("links {} {:016x}", self.number, self.digest);
        for event in &self.events[..self.used] {
            write!(line, " {event:x}")?;
        }
        self.used = 0;
        self.number += 1;
        print(&line)
    }
}
