//! Calls that a signal interrupts.

use crate::kit::clock::{MS_NS, monotonic, sleep_ms, timespec, timeval};
use crate::kit::plain::socklen;
use crate::kit::process::{Pester, SELF, fork, join, kill, pid};
use crate::kit::{Chain, Result, WorkDir, fd, signal, zero};
use crate::socket::{pair, tcp_pair};

/// With SA_RESTART blocked calls go on after the handler: read, write, wait, accept, flock.
pub fn restart(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, libc::SA_RESTART)?;
    let (read, write) = fd::pipe()?;
    let parent = pid();
    let child = fork(|| {
        for _ in 0..6 {
            kill(parent, libc::SIGUSR1)?;
            sleep_ms(3)?;
        }
        fd::write_all(write, b"after the signals")?;
        sleep_ms(5)?;
        kill(parent, libc::SIGUSR1)?;
        sleep_ms(5)?;
        Ok(9)
    })?;
    let mut bytes = [0; 64];
    check_eq!(fd::read(read, &mut bytes)?, 17, "bytes of a read that went on");
    check!(signal::count() > 0, "no signal before the bytes");
    let mut status = 0;
    check_eq!(sys!(waitpid(child, &raw mut status, 0))?, child, "a wait that went on");
    check_eq!(libc::WEXITSTATUS(status), 9, "exit code");
    signal::take(chain);

    // A write that waits for room: the signals come while it waits, then the reader begins.
    let data = chain.data(200_000);
    let child = fork(|| {
        fd::close(write)?;
        for _ in 0..5 {
            sleep_ms(3)?;
            kill(parent, libc::SIGUSR1)?;
        }
        check!(fd::read_to_end(read)? == data, "the bytes differ");
        Ok(0)
    })?;
    fd::close(read)?;
    let mut rest = &data[..];
    while !rest.is_empty() {
        // A write that has moved bytes returns them when a signal comes.
        let count = fd::write(write, rest)?;
        chain.num(count);
        rest = &rest[count..];
    }
    fd::close(write)?;
    join(child)?;
    signal::take(chain);

    let _dir = WorkDir::enter()?;
    let file = fd::create(c"file")?;
    let (read, write) = fd::pipe()?;
    let child = fork(|| {
        let own = fd::open(c"file", libc::O_RDWR)?;
        sys!(flock(own, libc::LOCK_EX))?;
        fd::write_all(write, b"!")?;
        for _ in 0..4 {
            sleep_ms(3)?;
            kill(parent, libc::SIGUSR1)?;
        }
        Ok(0)
    })?;
    fd::read_exact(read, 1)?;
    sys!(flock(file, libc::LOCK_EX))?;
    join(child)?;
    check!(!signal::take(chain).is_empty(), "no signal");
    fd::close_all(&[file, read, write])
}

/// Without SA_RESTART a blocked read of a pipe, a socket, a counter ends with EINTR; one that has bytes does not.
pub fn read(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, 0)?;
    let (near, far) = pair(libc::SOCK_STREAM)?;
    let (pipe, other) = fd::pipe()?;
    let (client, server) = tcp_pair()?;
    let counter = sys!(eventfd(0, 0))?;
    let mut bytes = [0u8; 8];
    let pester = Pester::start(libc::SIGUSR1, 4)?;
    for number in [near, pipe, client, counter] {
        fails!(EINTR, read(number, bytes.as_mut_ptr().cast(), 8))?;
        chain.num(monotonic()?);
    }
    fails!(EINTR, recv(near, bytes.as_mut_ptr().cast(), 8, 0))?;
    fails!(EINTR, recvfrom(client, bytes.as_mut_ptr().cast(), 8, 0, std::ptr::null_mut(), std::ptr::null_mut()))?;
    fails!(EINTR, waitpid(-1, std::ptr::null_mut(), 0))?;
    pester.stop(chain)?;
    signal::take(chain);
    fd::close_all(&[near, far, pipe, other, client, server, counter])
}

/// Waits for events end with EINTR even with SA_RESTART, and so do waits with a timeout of a socket's own.
pub fn waits(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, libc::SA_RESTART)?;
    let (near, far) = pair(libc::SOCK_STREAM)?;
    let epoll = sys!(epoll_create1(0))?;
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 1 };
    sys!(epoll_ctl(epoll, libc::EPOLL_CTL_ADD, near, &raw mut event))?;
    let mut entry = libc::pollfd { fd: near, events: libc::POLLIN, revents: 0 };
    let pester = Pester::start(libc::SIGUSR1, 4)?;
    for timeout in [-1, 8_000] {
        fails!(EINTR, epoll_wait(epoll, &raw mut event, 1, timeout))?;
        fails!(EINTR, poll(&raw mut entry, 1, timeout))?;
        chain.num(monotonic()?);
    }
    fails!(EINTR, select(0, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut(), &mut timeval(8_000_000)))?;
    fails!(EINTR, ppoll(&raw mut entry, 1, &timespec(8_000 * MS_NS), std::ptr::null()))?;
    let wait = timeval(8_000_000);
    sys!(setsockopt(near, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const wait).cast(), socklen::<libc::timeval>()))?;
    fails!(EINTR, recv(near, [0u8; 4].as_mut_ptr().cast(), 4, 0))?;
    fails!(EINTR, pause())?;
    pester.stop(chain)?;
    signal::take(chain);
    fd::close_all(&[near, far, epoll])
}

/// Blocked accept, connect-less waits, locks and FIFOs end with EINTR without SA_RESTART; a sleeping exec'd program is ended by
/// the default action.
pub fn calls(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    signal::watch(libc::SIGUSR1, 0)?;
    let listener = sys!(socket(libc::AF_UNIX, libc::SOCK_STREAM, 0))?;
    let mut name: libc::sockaddr_un = zero();
    name.sun_family = libc::AF_UNIX as u16;
    name.sun_path[0] = b's' as libc::c_char;
    sys!(bind(listener, (&raw const name).cast(), 4))?;
    sys!(listen(listener, 1))?;
    sys!(mkfifo(c"fifo".as_ptr(), 0o600))?;
    let file = fd::create(c"file")?;
    let (read, write) = fd::pipe()?;
    let holder = fork(|| {
        let own = fd::open(c"file", libc::O_RDWR)?;
        let mut lock: libc::flock = zero();
        lock.l_type = libc::F_WRLCK as i16;
        sys!(fcntl(own, libc::F_SETLK, &raw const lock))?;
        sys!(flock(own, libc::LOCK_EX))?;
        fd::write_all(write, b"!")?;
        sleep_ms(10_000)?;
        Ok(0)
    })?;
    fd::read_exact(read, 1)?;
    let pester = Pester::start(libc::SIGUSR1, 4)?;
    fails!(EINTR, accept(listener, std::ptr::null_mut(), std::ptr::null_mut()))?;
    fails!(EINTR, open(c"fifo".as_ptr(), libc::O_RDONLY))?;
    fails!(EINTR, flock(file, libc::LOCK_EX))?;
    let mut lock: libc::flock = zero();
    lock.l_type = libc::F_WRLCK as i16;
    fails!(EINTR, fcntl(file, libc::F_SETLKW, &raw const lock))?;
    pester.stop(chain)?;
    kill(holder, libc::SIGTERM)?;
    crate::kit::process::join_signal(holder, libc::SIGTERM)?;
    let (begun_read, begun_write) = fd::pipe()?;
    let sleeper = fork(|| {
        let args = [c"guests".as_ptr(), c"@sleep".as_ptr(), c"10000".as_ptr(), std::ptr::null()];
        sys!(execv(SELF.as_ptr(), args.as_ptr()))
    })?;
    fd::close(begun_write)?;
    // The exec closes the pipe and takes the handler away.
    check_eq!(fd::read(begun_read, &mut [0; 1])?, 0, "bytes of a pipe that an exec closes");
    kill(sleeper, libc::SIGUSR1)?;
    crate::kit::process::join_signal(sleeper, libc::SIGUSR1)?;
    signal::take(chain);
    fd::close_all(&[listener, file, read, write, begun_read])
}
