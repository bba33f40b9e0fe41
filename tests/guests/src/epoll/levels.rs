//! Kinds of registration.

use crate::kit::call::{errno, outcome};
use crate::kit::{Chain, Result, fd, zero};
use crate::socket::pair;

/// An epoll descriptor.
pub fn create() -> Result<i32> {
    sys!(epoll_create1(libc::EPOLL_CLOEXEC))
}

/// Adds or changes a registration, with the descriptor's number as its data.
pub fn control(epoll: i32, what: i32, target: i32, events: i32) -> Result {
    let mut event = libc::epoll_event { events: events as u32, u64: target as u64 };
    sys!(epoll_ctl(epoll, what, target, &raw mut event)).map(drop)
}

/// Adds a registration.
pub fn add(epoll: i32, target: i32, events: i32) -> Result {
    control(epoll, libc::EPOLL_CTL_ADD, target, events)
}

/// Waits; gives (descriptor, events), by ascending descriptor. The order as it came is in the chain.
pub fn wait(epoll: i32, timeout_ms: i32, chain: &mut Chain) -> Result<Vec<(i32, i32)>> {
    let mut events: [libc::epoll_event; 16] = [zero(); 16];
    let count = loop {
        // SAFETY: `events` has 16 places.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 16, timeout_ms) };
        // A child's end may interrupt it although nobody handles SIGCHLD: a stop does (signal(7)), and so does a tracer.
        if count >= 0 || errno() != libc::EINTR {
            break outcome(count, "epoll_wait", file!(), line!())?;
        }
    };
    let mut found: Vec<(i32, i32)> =
        events[..count as usize].iter().map(|event| ({ event.u64 } as i32, { event.events } as i32)).collect();
    for &(number, events) in &found {
        chain.num(number);
        chain.num(events);
    }
    found.sort_unstable();
    Ok(found)
}

/// A level is reported as long as it holds; EPOLL_CTL_MOD and DEL change what is reported.
pub fn level(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let (near, far) = pair(libc::SOCK_STREAM)?;
    add(epoll, near, libc::EPOLLIN)?;
    let mut event: libc::epoll_event = zero();
    fails!(EEXIST, epoll_ctl(epoll, libc::EPOLL_CTL_ADD, near, &raw mut event))?;
    fails!(ENOENT, epoll_ctl(epoll, libc::EPOLL_CTL_MOD, far, &raw mut event))?;
    fails!(EINVAL, epoll_ctl(epoll, libc::EPOLL_CTL_ADD, epoll, &raw mut event))?;
    check_eq!(wait(epoll, 0, chain)?, [], "events of an empty socket");
    fd::write_all(far, b"four")?;
    for _ in 0..3 {
        check_eq!(wait(epoll, -1, chain)?, [(near, libc::EPOLLIN)], "a level that holds");
    }
    fd::read_exact(near, 2)?;
    check_eq!(wait(epoll, -1, chain)?, [(near, libc::EPOLLIN)], "a level that still holds");
    control(epoll, libc::EPOLL_CTL_MOD, near, libc::EPOLLOUT)?;
    check_eq!(wait(epoll, -1, chain)?, [(near, libc::EPOLLOUT)], "after a change");
    control(epoll, libc::EPOLL_CTL_MOD, near, libc::EPOLLIN | libc::EPOLLRDHUP)?;
    fd::close(far)?;
    let all = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP;
    check_eq!(wait(epoll, -1, chain)?, [(near, all)], "after the other end closed");
    sys!(epoll_ctl(epoll, libc::EPOLL_CTL_DEL, near, std::ptr::null_mut()))?;
    check_eq!(wait(epoll, 0, chain)?, [], "after a removal");
    fails!(EPERM, epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd::open(c"/proc/self/exe", 0)?, &raw mut event))?;
    fd::close_all(&[epoll, near])
}

/// An edge is reported once for each arrival, whatever was read.
pub fn edge(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let (read, write) = fd::pipe_with(libc::O_NONBLOCK)?;
    add(epoll, read, libc::EPOLLIN | libc::EPOLLET)?;
    check_eq!(wait(epoll, 0, chain)?, [], "events at first");
    for round in 0..10 {
        fd::write_all(write, &chain.data(10 + round))?;
        check_eq!(wait(epoll, -1, chain)?, [(read, libc::EPOLLIN)], "an arrival");
        check_eq!(wait(epoll, 0, chain)?, [], "no arrival since");
        chain.bytes(&fd::read_exact(read, 5)?);
        check_eq!(wait(epoll, 0, chain)?, [], "a read is no arrival");
    }
    fd::write_all(write, b"more")?;
    control(epoll, libc::EPOLL_CTL_MOD, read, libc::EPOLLIN | libc::EPOLLET)?;
    check_eq!(wait(epoll, -1, chain)?, [(read, libc::EPOLLIN)], "after it was armed again");
    fd::close(write)?;
    check_eq!(wait(epoll, -1, chain)?, [(read, libc::EPOLLIN | libc::EPOLLHUP)], "the end");
    check_eq!(wait(epoll, 0, chain)?, [], "the end is reported once");
    fd::close_all(&[epoll, read])
}

/// One event, then silence until it is armed again.
pub fn oneshot(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let (near, far) = pair(libc::SOCK_DGRAM)?;
    let once = libc::EPOLLIN | libc::EPOLLONESHOT;
    add(epoll, near, once)?;
    fd::write_all(far, b"one")?;
    check_eq!(wait(epoll, -1, chain)?, [(near, libc::EPOLLIN)], "the event");
    fd::write_all(far, b"two")?;
    check_eq!(wait(epoll, 2, chain)?, [], "silence");
    for _ in 0..2 {
        control(epoll, libc::EPOLL_CTL_MOD, near, once)?;
        check_eq!(wait(epoll, -1, chain)?, [(near, libc::EPOLLIN)], "armed again");
        fd::read_exact(near, 3)?;
    }
    control(epoll, libc::EPOLL_CTL_MOD, near, once)?;
    check_eq!(wait(epoll, 0, chain)?, [], "nothing is left");
    fd::close_all(&[epoll, near, far])
}

/// An epoll descriptor in another one is readable while it has events.
pub fn nested(chain: &mut Chain) -> Result {
    let (outer, inner) = (create()?, create()?);
    let counter = sys!(eventfd(0, libc::EFD_NONBLOCK))?;
    add(inner, counter, libc::EPOLLIN)?;
    add(outer, inner, libc::EPOLLIN)?;
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    fails!(ELOOP, epoll_ctl(inner, libc::EPOLL_CTL_ADD, outer, &raw mut event))?;
    check_eq!(wait(outer, 0, chain)?, [], "events at first");
    fd::write_all(counter, &3u64.to_ne_bytes())?;
    check_eq!(wait(outer, -1, chain)?, [(inner, libc::EPOLLIN)], "events of the outer");
    check_eq!(wait(inner, -1, chain)?, [(counter, libc::EPOLLIN)], "events of the inner");
    check_eq!(fd::poll_one(outer, libc::POLLIN, 0)?, libc::POLLIN, "poll of the outer");
    check_eq!(fd::read_u64(counter)?, 3, "the counter");
    check_eq!(wait(outer, 0, chain)?, [], "events after the read");
    check_eq!(fd::poll_one(outer, libc::POLLIN, 0)?, 0, "poll of the outer after the read");
    fd::close_all(&[outer, inner, counter])
}

/// A registration is of the number and the open file: closing one of two numbers keeps it, closing both ends it.
pub fn duplicates(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let (read, write) = fd::pipe()?;
    let other = sys!(dup(read))?;
    add(epoll, read, libc::EPOLLIN)?;
    add(epoll, other, libc::EPOLLIN | libc::EPOLLET)?;
    fd::write_all(write, b"byte")?;
    check_eq!(wait(epoll, -1, chain)?, [(read, libc::EPOLLIN), (other, libc::EPOLLIN)], "two numbers of one pipe");
    check_eq!(wait(epoll, -1, chain)?, [(read, libc::EPOLLIN)], "the level");
    fd::close(read)?;
    check_eq!(wait(epoll, -1, chain)?, [(read, libc::EPOLLIN)], "a closed number whose file is open");
    fd::close(other)?;
    check_eq!(wait(epoll, 0, chain)?, [], "no number left");
    fd::close_all(&[epoll, write])
}
