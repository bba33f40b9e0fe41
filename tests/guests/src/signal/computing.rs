//! Signals into a process that computes and makes no calls: what its handlers see of the computation depends on the instruction
//! before which each of them ran, and goes into the chain.

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::kit::chain::mix;
use crate::kit::clock::{sleep_ms, timeval};
use crate::kit::process::{exit_now, fork, join, join_code, join_signal, kill, pid};
use crate::kit::signal::note;
use crate::kit::{Chain, Result, signal};

/// Blocks that have been calculated.
static PROGRESS: AtomicU64 = AtomicU64::new(0);
/// What the handlers made of it.
static STATE: AtomicU64 = AtomicU64::new(0);
/// Handlers that have run.
static RUNS: AtomicU64 = AtomicU64::new(0);

fn see(word: u64) {
    STATE.store(mix(STATE.load(Ordering::SeqCst), word), Ordering::SeqCst);
}

/// The handler: how far has the computation come?
pub extern "C" fn look(number: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    see(PROGRESS.load(Ordering::SeqCst) << 8 | number as u64);
    RUNS.fetch_add(1, Ordering::SeqCst);
}

/// Some ten microseconds of work.
#[inline(never)]
pub fn block(seed: u64) -> u64 {
    (0..8_000).fold(seed, |sum, turn| black_box(mix(sum, turn)))
}

/// Computes until so many handlers have run.
pub fn compute(runs: u64) -> u64 {
    let mut sum = 1;
    while RUNS.load(Ordering::SeqCst) < runs {
        sum = block(sum);
        PROGRESS.fetch_add(1, Ordering::SeqCst);
    }
    sum
}

/// Takes what the handlers saw into the chain.
pub fn settle(chain: &mut Chain, sum: u64) {
    for word in [sum, PROGRESS.load(Ordering::SeqCst), STATE.load(Ordering::SeqCst), RUNS.load(Ordering::SeqCst)] {
        chain.num(word);
    }
}

/// A timer of so many microseconds; 0 ends it.
pub fn every_us(which: c_int, us: i64) -> Result {
    let times = libc::itimerval { it_interval: timeval(us), it_value: timeval(us) };
    sys!(setitimer(which, &raw const times, null_mut())).map(drop)
}

/// A signal each millisecond.
pub fn plain(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, look, libc::SA_RESTART)?;
    every_us(libc::ITIMER_REAL, 1000)?;
    let sum = compute(60);
    every_us(libc::ITIMER_REAL, 0)?;
    settle(chain, sum);
    Ok(())
}

/// The same with a call now and then, at which a signal may just as well come.
pub fn with_calls(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, look, libc::SA_RESTART)?;
    every_us(libc::ITIMER_REAL, 1500)?;
    let mut sum = 0;
    while RUNS.load(Ordering::SeqCst) < 60 {
        for _ in 0..chain.below(100) {
            sum = block(sum);
            PROGRESS.fetch_add(1, Ordering::SeqCst);
        }
        check_eq!(plain!(getpid()), pid(), "own number");
    }
    every_us(libc::ITIMER_REAL, 0)?;
    settle(chain, sum);
    Ok(())
}

extern "C" fn slow(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    look(number, info, context);
    for turn in 0..100 {
        see(block(turn));
        PROGRESS.fetch_add(1, Ordering::SeqCst);
    }
    see(u64::MAX);
}

/// Handlers that compute are interrupted by other handlers, and each goes on where it was.
pub fn nested(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, slow, libc::SA_RESTART)?;
    signal::install(libc::SIGPROF, look, libc::SA_RESTART)?;
    every_us(libc::ITIMER_REAL, 7000)?;
    every_us(libc::ITIMER_PROF, 4000)?;
    let sum = compute(40);
    every_us(libc::ITIMER_PROF, 0)?;
    every_us(libc::ITIMER_REAL, 0)?;
    settle(chain, sum);
    Ok(())
}

/// A child queues signals with values: they come in order, and none is missing.
pub fn queued(chain: &mut Chain) -> Result {
    let number = libc::SIGRTMIN() + 2;
    signal::watch(number, libc::SA_RESTART)?;
    let parent = pid();
    let child = fork(|| {
        for value in 1..=50_usize {
            sys!(sigqueue(parent, number, libc::sigval { sival_ptr: value as *mut c_void }))?;
            sleep_ms(1)?;
        }
        Ok(0)
    })?;
    let mut sum = 0;
    while signal::count() < 50 {
        sum = block(sum);
        PROGRESS.fetch_add(1, Ordering::SeqCst);
    }
    chain.num(PROGRESS.load(Ordering::SeqCst));
    chain.num(sum);
    join(child)?;
    let values: Vec<u64> = signal::take(chain).iter().map(|one| one.value).collect();
    check_eq!(values, (1..=50).collect::<Vec<u64>>(), "values");
    Ok(())
}

static LOWEST: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

extern "C" fn where_am_i(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let here = &raw const number as usize;
    LOWEST.fetch_min(here, Ordering::SeqCst);
    HIGHEST.fetch_max(here, Ordering::SeqCst);
    see(here as u64);
    look(number, info, context);
}

/// The handler has a stack of its own, whatever was computed on the other.
pub fn alternate_stack(chain: &mut Chain) -> Result {
    let mut memory = vec![0_u8; 64 << 10];
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    sys!(sigaltstack(&raw const stack, null_mut()))?;
    signal::install(libc::SIGALRM, where_am_i, libc::SA_ONSTACK)?;
    every_us(libc::ITIMER_REAL, 1000)?;
    let sum = compute(30);
    every_us(libc::ITIMER_REAL, 0)?;
    let range = memory.as_ptr_range();
    let on_it = |at: &AtomicUsize| (range.start as usize..range.end as usize).contains(&at.load(Ordering::SeqCst));
    check!(on_it(&LOWEST) && on_it(&HIGHEST), "a handler ran on another stack");
    settle(chain, sum);
    Ok(())
}

#[inline(never)]
fn descend(depth: u64) -> u64 {
    PROGRESS.fetch_add(1, Ordering::SeqCst);
    if depth == 0 { block(1) } else { descend(black_box(depth - 1)).wrapping_add(block(depth)) }
}

/// A recursion, of which two levels look alike but for their callers.
pub fn recursion(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, look, 0)?;
    every_us(libc::ITIMER_REAL, 1000)?;
    let mut sum = 0_u64;
    while RUNS.load(Ordering::SeqCst) < 40 {
        sum = sum.wrapping_add(descend(black_box(12)));
    }
    every_us(libc::ITIMER_REAL, 0)?;
    settle(chain, sum);
    Ok(())
}

/// Memory is copied by an instruction that repeats itself, which a signal can interrupt between two of its turns.
pub fn copies(chain: &mut Chain) -> Result {
    const BYTES: usize = 1 << 20;
    signal::install(libc::SIGALRM, look, 0)?;
    let (from, mut to) = (chain.data(BYTES), vec![0_u8; BYTES]);
    every_us(libc::ITIMER_REAL, 1000)?;
    while RUNS.load(Ordering::SeqCst) < 30 {
        // Each turn is another, as in `floats`.
        let bytes = BYTES - (PROGRESS.load(Ordering::SeqCst) & 0xffff) as usize;
        // SAFETY: both have so many bytes; the direction flag is clear.
        unsafe {
            std::arch::asm!("rep movsb", inout("rcx") bytes => _, inout("rsi") from.as_ptr() => _, inout("rdi") to.as_mut_ptr() => _);
        }
        PROGRESS.fetch_add(1, Ordering::SeqCst);
    }
    every_us(libc::ITIMER_REAL, 0)?;
    check!(from[..BYTES >> 1] == to[..BYTES >> 1], "the copy is another");
    settle(chain, 0);
    Ok(())
}

static FLOAT: AtomicU64 = AtomicU64::new(0);

extern "C" fn floating(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = f64::from_bits(FLOAT.load(Ordering::SeqCst));
    FLOAT.store((black_box(before) * 0.5 + PROGRESS.load(Ordering::SeqCst) as f64).sqrt().to_bits(), Ordering::SeqCst);
    look(number, info, context);
}

#[inline(never)]
fn harmonic(terms: u64) -> f64 {
    (1..=terms).fold(0.0, |sum, term| black_box(sum) + 1.0 / term as f64)
}

/// Floating point registers are as they were behind a handler that used them.
pub fn floats(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, floating, 0)?;
    every_us(libc::ITIMER_REAL, 1000)?;
    while RUNS.load(Ordering::SeqCst) < 40 {
        // Each turn is another, in registers too: no replica can tell turns that differ in nothing but a counter elsewhere.
        let terms = 5_000 + PROGRESS.load(Ordering::SeqCst);
        let (sum, wanted) = (harmonic(black_box(terms)), harmonic(black_box(terms)));
        check!(sum.to_bits() == wanted.to_bits(), "{sum} instead of {wanted}");
        PROGRESS.fetch_add(1, Ordering::SeqCst);
    }
    every_us(libc::ITIMER_REAL, 0)?;
    settle(chain, FLOAT.load(Ordering::SeqCst));
    Ok(())
}

/// Three children compute until each has had its signals from the parent; how far they came tells the exit code.
pub fn children(chain: &mut Chain) -> Result {
    let mut children = Vec::new();
    for _ in 0..3 {
        signal::install(libc::SIGUSR1, look, 0)?;
        children.push(fork(|| {
            let sum = compute(5);
            Ok((mix(sum, STATE.load(Ordering::SeqCst)) & 63) as i32)
        })?);
    }
    for _ in 0..200 {
        for child in &children {
            // One that has ended waits for being reaped: it can be sent signals.
            kill(*child, libc::SIGUSR1)?;
        }
        sleep_ms(2)?;
    }
    for child in children {
        let status = crate::kit::process::wait(child)?;
        check!(libc::WIFEXITED(status), "child {child} ended with status {status:#x}");
        chain.num(libc::WEXITSTATUS(status));
    }
    Ok(())
}

/// A child that computes for ever is ended by a signal without a handler.
pub fn ended(chain: &mut Chain) -> Result {
    for number in [libc::SIGTERM, libc::SIGKILL, libc::SIGALRM] {
        let child = fork(|| Ok(compute(u64::MAX) as i32))?;
        sleep_ms(10)?;
        kill(child, number)?;
        join_signal(child, number)?;
        chain.num(child);
    }
    Ok(())
}

extern "C" fn leave(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    exit_now((PROGRESS.load(Ordering::SeqCst) % 7 + 1) as i32);
}

/// A handler ends the process; its exit code tells how far the computation had come.
pub fn handler_exits(chain: &mut Chain) -> Result {
    signal::install(libc::SIGUSR2, leave, 0)?;
    for _ in 0..4 {
        let child = fork(|| Ok(compute(u64::MAX) as i32))?;
        sleep_ms(8)?;
        kill(child, libc::SIGUSR2)?;
        let status = crate::kit::process::wait(child)?;
        check!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) > 0, "status {status:#x}");
        chain.num(libc::WEXITSTATUS(status));
    }
    let child = fork(|| Ok(3))?;
    join_code(child, 3)
}

/// Signals that are blocked while it computes come when they are let in, and not before.
pub fn masked(chain: &mut Chain) -> Result {
    signal::install(libc::SIGALRM, look, 0)?;
    every_us(libc::ITIMER_REAL, 1000)?;
    let mut sum = 0;
    for _ in 0..10 {
        signal::block(&[libc::SIGALRM])?;
        let before = RUNS.load(Ordering::SeqCst);
        for _ in 0..200 {
            sum = block(sum);
            PROGRESS.fetch_add(1, Ordering::SeqCst);
        }
        check_eq!(RUNS.load(Ordering::SeqCst), before, "handlers while the signal was blocked");
        signal::unblock(&[libc::SIGALRM])?;
        for _ in 0..200 {
            sum = block(sum);
            PROGRESS.fetch_add(1, Ordering::SeqCst);
        }
    }
    every_us(libc::ITIMER_REAL, 0)?;
    check!(RUNS.load(Ordering::SeqCst) >= 10, "{} handlers", RUNS.load(Ordering::SeqCst));
    settle(chain, sum);
    Ok(())
}

extern "C" fn once(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    note(number, info, context);
    look(number, info, context);
}

/// A handler that is for one time is set again by the program that it interrupted.
pub fn one_time(chain: &mut Chain) -> Result {
    every_us(libc::ITIMER_REAL, 1000)?;
    let mut sum = 0;
    for run in 1..=20 {
        signal::install(libc::SIGALRM, once, libc::SA_RESETHAND | libc::SA_NODEFER)?;
        every_us(libc::ITIMER_REAL, 0)?;
        let first = libc::itimerval { it_interval: timeval(0), it_value: timeval(1000) };
        sys!(setitimer(libc::ITIMER_REAL, &raw const first, null_mut()))?;
        sum = mix(sum, compute(run));
    }
    check_eq!(signal::take(chain).len(), 20, "signals");
    settle(chain, sum);
    Ok(())
}
