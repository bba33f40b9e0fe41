//! The locks in one process: workers, those who meet at the barrier, and one that starts threads that live for a moment.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::ledger::{Ledger, What};
use super::objects::Scope;
use super::room::{Locks, MEETING, map};
use super::steps::Worker;
use crate::kit::process::exit_now;
use crate::kit::{Chain, Result, signal};
use crate::workload::until::Until;

const WORKERS: u64 = 6;
/// Numbers of threads that live for a moment begin here.
const SHORT: u64 = 100;

#[repr(C)]
struct Board {
    locks: Locks,
    ledger: Ledger,
}

thread_local! {
    /// Steps of this thread; the worker counts them too.
    static OWN_STEPS: Cell<u64> = const { Cell::new(0) };
}
/// The destructors of thread-specific data that have run.
static DESTROYED: AtomicU64 = AtomicU64::new(0);
/// Detached threads that have not ended yet.
static DETACHED: AtomicU32 = AtomicU32::new(0);

/// A thread's work; it fails with a message.
type Work = Box<dyn FnOnce() -> Result<u64> + Send>;

/// Runs until SIGTERM or SIGINT, or until as many lines are printed as the first argument says.
pub fn threads(chain: &mut Chain) -> Result {
    let until = Until::new()?;
    // Only the main thread is told to stop, and only while it waits.
    signal::block(&[libc::SIGTERM, libc::SIGINT])?;
    let board: &'static Board = map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    board.locks.init(Scope::Threads)?;
    board.ledger.init(Scope::Threads, chain)?;
    let mut started = Vec::new();
    for who in 1..=WORKERS {
        started.push(start(Box::new(move || work(Worker::new(who, Scope::Threads, &board.locks, &board.ledger)?)))?);
    }
    for who in (1 + WORKERS..).take(MEETING as usize) {
        let meet = move || Worker::new(who, Scope::Threads, &board.locks, &board.ledger)?.meet().map(|()| 0);
        started.push(start(Box::new(meet))?);
    }
    started.push(start(Box::new(move || come_and_go(board)))?);
    until.wait(|| board.ledger.lines())?;
    board.locks.stop();
    for thread in started {
        join(thread)?;
    }
    while DETACHED.load(Ordering::SeqCst) > 0 {
        crate::kit::clock::sleep_ms(1)?;
    }
    board.ledger.close(chain)
}

fn work(mut worker: Worker<'_>) -> Result<u64> {
    while !worker.locks.stopped() {
        worker.step()?;
        let own = OWN_STEPS.with(|own| {
            own.set(own.get() + 1);
            own.get()
        });
        check_eq!(own, worker.steps(), "steps in the storage of thread {}", worker.who);
    }
    Ok(worker.steps())
}

/// Threads that live for a moment, one after the other: most are joined, some are detached, some die with the robust mutex.
fn come_and_go(board: &'static Board) -> Result<u64> {
    let mut key = 0;
    check_eq!(plain!(pthread_key_create(&raw mut key, Some(destroy))), 0, "error of pthread_key_create");
    let mut number = 0;
    while !board.locks.stopped() {
        number += 1;
        let before = DESTROYED.load(Ordering::SeqCst);
        let short = move || short(board, key, number);
        if number.is_multiple_of(5) {
            DETACHED.fetch_add(1, Ordering::SeqCst);
            let thread = start(Box::new(move || {
                let done = short();
                DETACHED.fetch_sub(1, Ordering::SeqCst);
                done
            }))?;
            check_eq!(plain!(pthread_detach(thread)), 0, "error of pthread_detach");
        } else {
            check_eq!(join(start(Box::new(short))?)?, number, "what thread {number} returned");
            check!(DESTROYED.load(Ordering::SeqCst) > before, "the data of thread {number} was not destroyed");
        }
        board.ledger.note(SHORT, What::Gone, number)?;
        crate::kit::clock::sleep_ms(15)?;
    }
    Ok(number)
}

fn short(board: &'static Board, key: libc::pthread_key_t, number: u64) -> Result<u64> {
    let own = std::ptr::without_provenance_mut::<c_void>(number as usize);
    check_eq!(plain!(pthread_setspecific(key, own)), 0, "error of pthread_setspecific");
    let mut worker = Worker::new(SHORT + 1, Scope::Threads, &board.locks, &board.ledger)?;
    worker.note(What::Born, number)?;
    if number.is_multiple_of(7) {
        worker.inherit_to_come()?;
    } else {
        worker.step()?;
    }
    check_eq!(plain!(pthread_getspecific(key)), own, "specific data of thread {number}");
    Ok(number)
}

extern "C" fn destroy(_: *mut c_void) {
    DESTROYED.fetch_add(1, Ordering::SeqCst);
}

fn start(work: Work) -> Result<libc::pthread_t> {
    extern "C" fn run(work: *mut c_void) -> *mut c_void {
        // SAFETY: the box that `start` gave away, once.
        let work = unsafe { Box::from_raw(work.cast::<Work>()) };
        match work() {
            Ok(number) => std::ptr::without_provenance_mut(number as usize),
            Err(error) => {
                eprintln!("thread {}: {error:#}", plain!(gettid()));
                exit_now(1)
            }
        }
    }
    let mut thread = 0;
    let work = Box::into_raw(Box::new(work)).cast::<c_void>();
    let code = plain!(pthread_create(&raw mut thread, std::ptr::null(), run, work));
    check_eq!(code, 0, "error of pthread_create");
    Ok(thread)
}

/// Waits for a thread; gives what it returned.
fn join(thread: libc::pthread_t) -> Result<u64> {
    let mut value = std::ptr::null_mut();
    check_eq!(plain!(pthread_join(thread, &raw mut value)), 0, "error of pthread_join");
    Ok(value as u64)
}
