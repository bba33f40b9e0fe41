//! The locks between processes: workers, those who meet at the barrier, and one that starts processes that live for a moment. Half of
//! the locks are in anonymous memory, inherited; half in a POSIX shared memory file, which each process maps by its name.

use super::ledger::{Ledger, What};
use super::objects::Scope;
use super::room::{Locks, MEETING, map};
use super::steps::Worker;
use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, clock, fd, signal};
use crate::workload::until::Until;

const WORKERS: u64 = 5;
/// Numbers of processes that live for a moment begin here.
const SHORT: u64 = 100;

#[repr(C)]
struct Board {
    locks: Locks,
    ledger: Ledger,
}

/// Runs until SIGTERM or SIGINT, or until as many lines are printed as the first argument says.
pub fn shm(chain: &mut Chain) -> Result {
    let until = Until::new()?;
    signal::block(&[libc::SIGTERM, libc::SIGINT])?;
    let board: &'static Board = map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)?;
    board.locks.init(Scope::Processes)?;
    board.ledger.init(Scope::Processes, chain)?;
    let name = fd::c(&format!("/guests-shm-{}", pid()));
    let file = sys!(shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600))?;
    sys!(ftruncate(file, size_of::<Locks>() as i64))?;
    let named: &'static Locks = map(libc::MAP_SHARED, file)?;
    named.init(Scope::Processes)?;
    fd::close(file)?;
    let mut children = Vec::new();
    for who in 1..=WORKERS {
        children.push(fork(|| work(Worker::new(who, Scope::Processes, &board.locks, &board.ledger)?, &name))?);
    }
    for (at, locks) in [&board.locks, named].into_iter().enumerate() {
        for who in (10 + 10 * at as u64..).take(MEETING as usize) {
            children.push(fork(|| Worker::new(who, Scope::Processes, locks, &board.ledger)?.meet().map(|()| 0))?);
        }
    }
    children.push(fork(|| come_and_go(board))?);
    until.wait(|| board.ledger.lines())?;
    board.locks.stop();
    named.stop();
    for child in children {
        join(child)?;
    }
    sys!(shm_unlink(name.as_ptr()))?;
    board.ledger.close(chain)
}

/// Works at both sets of locks, with a mapping of the file of its own.
fn work(mut worker: Worker<'_>, name: &std::ffi::CStr) -> Result<i32> {
    let file = sys!(shm_open(name.as_ptr(), libc::O_RDWR, 0))?;
    let named: &'static Locks = map(libc::MAP_SHARED, file)?;
    fd::close(file)?;
    let inherited = worker.locks;
    while !inherited.stopped() {
        worker.at(if worker.steps().is_multiple_of(2) { inherited } else { named });
        worker.step()?;
    }
    Ok(0)
}

/// Processes that live for a moment, one after the other; some die with the robust mutex.
fn come_and_go(board: &'static Board) -> Result<i32> {
    let mut number = 0;
    while !board.locks.stopped() {
        number += 1;
        let child = fork(|| {
            let mut worker = Worker::new(SHORT + 1, Scope::Processes, &board.locks, &board.ledger)?;
            worker.note(What::Born, number)?;
            if number.is_multiple_of(7) {
                worker.inherit_to_come()?
            } else {
                worker.step()?
            }
            Ok(0)
        })?;
        join(child)?;
        board.ledger.note(SHORT, What::Gone, number)?;
        clock::sleep_ms(25)?;
    }
    Ok(0)
}
