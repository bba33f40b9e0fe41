//! select and pselect.

use std::ptr::{null, null_mut};

use crate::kit::clock::{MS_NS, monotonic, timespec, timeval, us};
use crate::kit::process::Pester;
use crate::kit::{Chain, Result, fd, signal, zero};

fn set(fds: &[i32]) -> libc::fd_set {
    let mut set: libc::fd_set = zero();
    for &number in fds {
        // SAFETY: the set is a live local and the number below 1024.
        unsafe { libc::FD_SET(number, &raw mut set) };
    }
    set
}

fn has(set: &libc::fd_set, number: i32) -> bool {
    // SAFETY: the set is a live reference and the number below 1024.
    unsafe { libc::FD_ISSET(number, set) }
}

/// Sets are reduced to what is ready, high numbers too; the timeout says what was left.
pub fn select(chain: &mut Chain) -> Result {
    let ((read, write), (empty, other)) = (fd::pipe()?, fd::pipe()?);
    sys!(dup2(read, 200))?;
    fd::write_all(write, &chain.data(8))?;
    let (mut readable, mut writable) = (set(&[read, empty, 200]), set(&[write, other]));
    let mut left = timeval(2_000_000);
    check_eq!(sys!(select(201, &raw mut readable, &raw mut writable, null_mut(), &raw mut left))?, 4, "descriptors");
    check!(has(&readable, read) && has(&readable, 200) && !has(&readable, empty), "readable ones");
    check!(has(&writable, write) && has(&writable, other), "writable ones");
    check!(us(&left) <= 2_000_000, "{} us left", us(&left));
    chain.num(us(&left));
    for wanted in [0, 1_000, 6_000] {
        let mut readable = set(&[empty]);
        let mut left = timeval(wanted);
        let before = monotonic()?;
        check_eq!(sys!(select(empty + 1, &raw mut readable, null_mut(), null_mut(), &raw mut left))?, 0, "descriptors");
        let passed = monotonic()? - before;
        check!(passed >= wanted * 1000 && us(&left) == 0, "{passed} ns instead of {wanted} us, {} us left", us(&left));
        check!(!has(&readable, empty), "the set is not empty");
        chain.num(passed);
    }
    let mut bad = set(&[60]);
    fails!(EBADF, select(61, &raw mut bad, null_mut(), null_mut(), null_mut()))?;
    fails!(EINVAL, select(-1, null_mut(), null_mut(), null_mut(), null_mut()))?;
    fd::close_all(&[read, write, empty, other, 200])
}

/// `pselect` swaps the mask while it waits and leaves the timeout alone; a signal leaves `select` the time left.
pub fn pselect(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, libc::SA_RESTART)?;
    let old = signal::block(&[libc::SIGUSR1])?;
    let (read, write) = fd::pipe()?;
    let long = timespec(4_000 * MS_NS);
    sys!(raise(libc::SIGUSR1))?;
    let mut readable = set(&[read]);
    fails!(EINTR, pselect(read + 1, &raw mut readable, null_mut(), null_mut(), &raw const long, &raw const old))?;
    check_eq!(signal::take(chain).len(), 1, "signals");
    let blocked = signal::block(&[])?;
    check!(signal::has(&blocked, libc::SIGUSR1), "the mask is not what it was");
    fd::write_all(write, b"!")?;
    readable = set(&[read]);
    check_eq!(sys!(pselect(read + 1, &raw mut readable, null_mut(), null_mut(), &raw const long, null()))?, 1, "descriptors");
    fd::read_exact(read, 1)?;
    signal::unblock(&[libc::SIGUSR1])?;
    let pester = Pester::start(libc::SIGUSR1, 4)?;
    let mut left = timeval(4_000_000);
    readable = set(&[read]);
    fails!(EINTR, select(read + 1, &raw mut readable, null_mut(), null_mut(), &raw mut left))?;
    check!(us(&left) < 4_000_000, "{} us left", us(&left));
    chain.num(us(&left));
    pester.stop(chain)?;
    signal::take(chain);
    fd::close_all(&[read, write])
}
