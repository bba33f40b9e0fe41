//! epoll with signal masks and timeouts.

use super::levels::{add, create, wait};
use crate::kit::clock::{MS_NS, monotonic, timespec};
use crate::kit::process::Pester;
use crate::kit::{Chain, Result, fd, signal, unsupported, zero};

/// `epoll_pwait` swaps the mask while it waits: a pending signal ends it at once, one that comes ends it, events come first.
pub fn pwait(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let counter = sys!(eventfd(0, 0))?;
    add(epoll, counter, libc::EPOLLIN)?;
    signal::watch(libc::SIGUSR1, libc::SA_RESTART)?;
    signal::block(&[libc::SIGUSR1])?;
    let none = signal::set(&[]);
    let mut event: libc::epoll_event = zero();
    sys!(raise(libc::SIGUSR1))?;
    check_eq!(signal::count(), 0, "signals while blocked");
    fails!(EINTR, epoll_pwait(epoll, &raw mut event, 1, -1, &raw const none))?;
    check_eq!(signal::take(chain).len(), 1, "signals of one wait");
    check!(signal::has(&signal::block(&[])?, libc::SIGUSR1), "the mask is not what it was");
    let pester = Pester::start(libc::SIGUSR1, 3)?;
    fails!(EINTR, epoll_pwait(epoll, &raw mut event, 1, -1, &raw const none))?;
    pester.stop(chain)?;
    check!(!signal::take(chain).is_empty(), "no signal");
    let rest = signal::pending()?;
    chain.num(signal::has(&rest, libc::SIGUSR1));
    fd::write_all(counter, &1u64.to_ne_bytes())?;
    check_eq!(sys!(epoll_pwait(epoll, &raw mut event, 1, 100, std::ptr::null()))?, 1, "events without a mask");
    chain.num(event.events);
    fd::close_all(&[epoll, counter])
}

/// Timeouts never end early, in milliseconds and (`epoll_pwait2`) nanoseconds; events of a child end them.
pub fn timeouts(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let (read, write) = fd::pipe()?;
    add(epoll, read, libc::EPOLLIN)?;
    for timeout in [0, 1, 7] {
        let before = monotonic()?;
        check_eq!(wait(epoll, timeout, chain)?, [], "events");
        let passed = monotonic()? - before;
        check!(passed >= i64::from(timeout) * MS_NS, "{passed} ns instead of {timeout} ms");
        chain.num(passed);
    }
    let mut event: libc::epoll_event = zero();
    let short = timespec(2_500_000);
    let before = monotonic()?;
    if plain!(syscall(libc::SYS_epoll_pwait2, epoll, &raw mut event, 1, &raw const short, 0, 0)) == -1 {
        unsupported("epoll_pwait2")?;
    } else {
        check!(monotonic()? - before >= 2_500_000, "epoll_pwait2 ended early");
    }
    let pid = crate::kit::process::fork(|| {
        crate::kit::clock::sleep_ms(5)?;
        fd::write_all(write, b"!")?;
        Ok(0)
    })?;
    check_eq!(wait(epoll, 10_000, chain)?, [(read, libc::EPOLLIN)], "the child's byte");
    chain.num(monotonic()?);
    crate::kit::process::join(pid)?;
    fails!(EINVAL, epoll_wait(epoll, &raw mut event, 0, 0))?;
    fails!(EINVAL, epoll_wait(read, &raw mut event, 1, 0))?;
    fd::close_all(&[epoll, read, write])
}
