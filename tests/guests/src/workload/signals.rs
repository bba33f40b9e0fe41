//! A signal each millisecond, into a process that computes for a part of the time and sleeps for the rest. Each run of the handler is
//! an event of a chain: how far the computation had come, which tells the instruction before which the handler ran. The lines are
//! those of the guests `threads` and `shm`:
//!
//! ```text
//!   links 0 DIGEST                  random
//!   links N DIGEST EVENT EVENT …    DIGEST: the one of the line before, mixed with each event
//! ```
//!
//! The handler mixes the digest, the computation says what its events were.

use std::ffi::{c_int, c_void};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::kit::chain::{mix, print};
use crate::kit::clock::{MS_NS, monotonic, timespec};
use crate::kit::{Chain, Result, signal};
use crate::signal::computing::{block, every_us};
use crate::workload::until::Until;

/// Events of one line at most: a handler that runs when they are all taken waits for the next.
const EVENTS: usize = 256;
/// Of each [`STEP_MS`] so many blocks are calculated, some 5 ms; for the rest it sleeps.
const BLOCKS: u64 = 150;
const STEP_MS: i64 = 100;

static PROGRESS: AtomicU64 = AtomicU64::new(0);
static DIGEST: AtomicU64 = AtomicU64::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static EVENT: [AtomicU64; EVENTS] = [const { AtomicU64::new(0) }; EVENTS];

extern "C" fn tick(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let (progress, used) = (PROGRESS.load(Ordering::SeqCst), USED.load(Ordering::SeqCst));
    let Some(event) = EVENT.get(used) else { return };
    event.store(progress, Ordering::SeqCst);
    DIGEST.store(mix(DIGEST.load(Ordering::SeqCst), progress), Ordering::SeqCst);
    USED.store(used + 1, Ordering::SeqCst);
}

/// Runs until SIGTERM or SIGINT, or for as many lines as the first argument says.
pub fn signals(chain: &mut Chain) -> Result {
    let until = Until::new()?;
    DIGEST.store(chain.digest(), Ordering::SeqCst);
    print(&format!("links 0 {:016x}", chain.digest()))?;
    signal::install(libc::SIGALRM, tick, libc::SA_RESTART)?;
    every_us(libc::ITIMER_REAL, 1000)?;
    let (mut number, mut sum) = (0, chain.digest());
    while !until.reached(number) {
        let next = monotonic()? + STEP_MS * MS_NS;
        for _ in 0..BLOCKS {
            sum = block(sum);
            // Each place in the computation is another number, and depends on all before.
            PROGRESS.store(sum >> 16, Ordering::SeqCst);
        }
        let end = timespec(next);
        while !until.reached(number)
            && plain!(clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const end, std::ptr::null_mut()))
                == libc::EINTR
        {}
        number += 1;
        show(number)?;
    }
    every_us(libc::ITIMER_REAL, 0)?;
    chain.num(DIGEST.load(Ordering::SeqCst));
    print(&format!("end lines {number} {:016x}", chain.digest()))
}

/// Prints a line of what the handlers have seen; none of them runs meanwhile.
fn show(number: u64) -> Result {
    signal::block(&[libc::SIGALRM])?;
    let mut line = format!("links {number} {:016x}", DIGEST.load(Ordering::SeqCst));
    for event in &EVENT[..USED.swap(0, Ordering::SeqCst)] {
        write!(line, " {:x}", event.load(Ordering::SeqCst))?;
    }
    print(&line)?;
    signal::unblock(&[libc::SIGALRM])
}
