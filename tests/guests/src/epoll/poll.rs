//! poll and ppoll.

use crate::kit::clock::{MS_NS, monotonic, ns, sleep_ms, timespec};
use crate::kit::process::{Pester, fork, join};
use crate::kit::{Chain, Result, fd, signal};

fn entry(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0x7fff }
}

/// Events of many descriptors at once; negative numbers are skipped, closed ones reported; timeouts do not end early.
pub fn poll(chain: &mut Chain) -> Result {
    let ((read, write), (empty, other)) = (fd::pipe()?, fd::pipe()?);
    fd::write_all(write, &chain.data(8))?;
    let mut entries = [
        entry(read, libc::POLLIN),
        entry(write, libc::POLLIN | libc::POLLOUT),
        entry(empty, libc::POLLIN),
        entry(-5, libc::POLLIN),
        entry(999, libc::POLLIN),
    ];
    check_eq!(sys!(poll(entries.as_mut_ptr(), 5, -1))?, 3, "descriptors with events");
    let found = entries.map(|entry| entry.revents);
    check_eq!(found, [libc::POLLIN, libc::POLLOUT, 0, 0, libc::POLLNVAL], "events");
    for timeout in [0, 1, 8] {
        let before = monotonic()?;
        check_eq!(fd::poll_one(empty, libc::POLLIN, timeout)?, 0, "events of an empty pipe");
        let passed = monotonic()? - before;
        check!(passed >= i64::from(timeout) * MS_NS, "{passed} ns instead of {timeout} ms");
        chain.num(passed);
    }
    let pid = fork(|| {
        for _ in 0..5 {
            sleep_ms(2)?;
            fd::write_all(other, b"!")?;
        }
        Ok(0)
    })?;
    for _ in 0..5 {
        check_eq!(fd::poll_one(empty, libc::POLLIN, 5000)?, libc::POLLIN, "the child's byte");
        chain.num(monotonic()?);
        fd::read_exact(empty, 1)?;
    }
    join(pid)?;
    check_eq!(sys!(poll(std::ptr::null_mut(), 0, 3))?, 0, "a wait for nothing");
    fd::close_all(&[read, write, empty, other])
}

/// `ppoll` swaps the mask while it waits and says in its timeout what was left.
pub fn ppoll(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR2, 0)?;
    let old = signal::block(&[libc::SIGUSR2])?;
    let (read, write) = fd::pipe()?;
    let mut one = entry(read, libc::POLLIN);
    let mut left = timespec(3_000 * MS_NS);
    sys!(raise(libc::SIGUSR2))?;
    // The C library passes a copy of the timeout; the kernel writes what is left.
    let call = |one: *mut libc::pollfd, left: *mut libc::timespec, mask: *const libc::sigset_t| {
        plain!(syscall(libc::SYS_ppoll, one, 1, left, mask, 8))
    };
    check_eq!(call(&raw mut one, &raw mut left, &raw const old), -1, "a wait with a pending signal");
    check_eq!(crate::kit::call::errno(), libc::EINTR, "its error");
    check!(ns(&left) > 0 && ns(&left) <= 3_000 * MS_NS, "{} ns left", ns(&left));
    chain.num(ns(&left));
    check_eq!(signal::take(chain).len(), 1, "signals");
    let pester = Pester::start(libc::SIGUSR2, 3)?;
    left = timespec(3_000 * MS_NS);
    check_eq!(call(&raw mut one, &raw mut left, &raw const old), -1, "a wait that a signal ends");
    pester.stop(chain)?;
    chain.num(ns(&left));
    check!(!signal::take(chain).is_empty(), "no signal");
    fd::write_all(write, b"!")?;
    left = timespec(3_000 * MS_NS);
    check_eq!(call(&raw mut one, &raw mut left, std::ptr::null()), 1, "a wait that an event ends");
    check_eq!(one.revents, libc::POLLIN, "events");
    chain.num(ns(&left));
    let short = timespec(2 * MS_NS);
    let before = monotonic()?;
    check_eq!(sys!(ppoll(std::ptr::null_mut(), 0, &raw const short, std::ptr::null()))?, 0, "a wait for nothing");
    check!(monotonic()? - before >= 2 * MS_NS, "it ended early");
    fd::close_all(&[read, write])
}
