//! When a workload ends.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kit::call::errno;
use crate::kit::clock::{MS_NS, timespec};
use crate::kit::{Result, signal};

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    STOP.store(true, Ordering::SeqCst);
}

/// The end of a workload: so many steps (its first argument), or a signal.
#[derive(Debug)]
pub struct Until {
    steps: u64,
}

impl Until {
    /// Reads the argument and handles SIGTERM and SIGINT. Calls that wait end with EINTR.
    pub fn new() -> Result<Self> {
        let steps = match std::env::args().nth(2) {
            Some(text) => text.parse()?,
            None => u64::MAX,
        };
        signal::install(libc::SIGTERM, stop, 0)?;
        signal::install(libc::SIGINT, stop, 0)?;
        Ok(Self { steps })
    }

    /// Whether it is time to end after so many steps.
    pub fn reached(&self, steps: u64) -> bool {
        steps >= self.steps || STOP.load(Ordering::SeqCst)
    }

    /// Waits, with the signals let in meanwhile that the caller holds back, until as many steps are made or a signal came.
    pub fn wait(&self, steps: impl Fn() -> Result<u64>) -> Result {
        let (open, pause) = (signal::set(&[]), timespec(50 * MS_NS));
        while !self.reached(steps()?) {
            if plain!(ppoll(std::ptr::null_mut(), 0, &raw const pause, &raw const open)) == -1 {
                check_eq!(errno(), libc::EINTR, "error of ppoll");
            }
        }
        Ok(())
    }
}
