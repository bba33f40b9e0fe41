//! Clocks that are read by the library's functions between calls, as often as that goes: by threads that take turns, by signal handlers
//! that come in between, and around forks.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kit::chain::mix;
use crate::kit::clock::monotonic;
use crate::kit::process::{exit_now, fork, wait};
use crate::kit::{Chain, Result, signal, thread};
use crate::signal::computing::every_us;

/// What all readings so far make, in the order in which they were taken in.
static STATE: AtomicU64 = AtomicU64::new(0);
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Not one step: what comes of it depends on what other threads do in between.
fn see(word: u64) {
    STATE.store(mix(STATE.load(Ordering::SeqCst), word), Ordering::SeqCst);
}

/// So many readings, none of which goes back.
fn read(times: u64) -> Result<i64> {
    let mut last = 0;
    for _ in 0..times {
        let next = monotonic()?;
        check!(next >= last, "monotonic time went back from {last} to {next}");
        see(next.unsigned_abs());
        last = next;
    }
    Ok(last)
}

/// Threads that read, for as long as each of them has its turn several times.
pub fn threads(chain: &mut Chain) -> Result {
    let readers: Vec<_> =
        (0..4_u64).map(|n| thread::start(move || read(200_000 + 1_000 * n).map(drop))).collect::<Result<_>>()?;
    read(150_000)?;
    for reader in readers {
        thread::join(reader)?;
    }
    chain.num(STATE.load(Ordering::SeqCst));
    Ok(())
}

extern "C" fn look(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    // More than the process keeps, at times.
    let times = 1 + RUNS.fetch_add(1, Ordering::SeqCst) % 20;
    if read(times).is_err() {
        exit_now(1);
    }
}

fn read_until_they_ran() -> Result {
    while RUNS.load(Ordering::SeqCst) < 100 {
        read(1)?;
    }
    Ok(())
}

/// Handlers that read, in threads that read.
pub fn signals(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, look, libc::SA_RESTART)?;
    let other = thread::start(read_until_they_ran)?;
    every_us(libc::ITIMER_REAL, 1000)?;
    read_until_they_ran()?;
    every_us(libc::ITIMER_REAL, 0)?;
    thread::join(other)?;
    chain.num(STATE.load(Ordering::SeqCst));
    chain.num(RUNS.load(Ordering::SeqCst));
    Ok(())
}

/// Processes that are made between two readings go on with theirs.
pub fn forks(chain: &mut Chain) -> Result {
    for n in 0..40_u64 {
        let before = read(n % 19)?;
        let child = fork(|| {
            check!(read(1 + n % 17)? >= before, "a child's time is behind its parent's");
            Ok((STATE.load(Ordering::SeqCst) & 0x3f) as i32)
        })?;
        let parent = read(n % 5)?;
        let status = wait(child)?;
        check!(libc::WIFEXITED(status), "a child ended with {status:#x}");
        chain.num(libc::WEXITSTATUS(status) as u64);
        check!(read(1)? >= parent, "monotonic time went back over a wait");
    }
    chain.num(STATE.load(Ordering::SeqCst));
    Ok(())
}
