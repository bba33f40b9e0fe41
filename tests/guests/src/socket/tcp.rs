//! TCP over loopback.

use std::ptr::null_mut;

use super::address::{accept, loopback, port_of, tcp_connect, tcp_listen, tcp_pair};
use crate::kit::plain::socklen;
use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, fd, zero};

/// Both ends in one process: ports match, bytes pass both ways, the end is seen.
pub fn one_process(chain: &mut Chain) -> Result {
    let (listener, port) = tcp_listen(0, 8)?;
    let near = tcp_connect(port)?;
    let (far, peer) = accept(listener, 0)?;
    check_eq!(port_of(near)?, peer, "the port that the server sees");
    let mut address: libc::sockaddr_in = zero();
    let mut len = socklen::<libc::sockaddr_in>();
    sys!(getpeername(near, (&raw mut address).cast(), &raw mut len))?;
    check_eq!(u16::from_be(address.sin_port), port, "the port that the client sees");
    for round in 0..20 {
        let data = chain.data(1 + 300 * round);
        let (from, to) = if round % 2 == 0 { (near, far) } else { (far, near) };
        fd::write_all(from, &data)?;
        let got = fd::read_exact(to, data.len())?;
        check_eq!(got, data, "bytes of round {round}");
        chain.bytes(&got);
    }
    chain.num(port);
    chain.num(peer);
    fd::close(near)?;
    check_eq!(fd::read(far, &mut [0; 8])?, 0, "end");
    fd::close_all(&[far, listener])
}

/// A server in a child answers each request with its digest and random bytes of its own.
pub fn two_processes(chain: &mut Chain) -> Result {
    let (listener, port) = tcp_listen(0, 8)?;
    let server = fork(|| {
        for _ in 0..3 {
            let (client, _) = accept(listener, 0)?;
            loop {
                let mut head = [0; 2];
                if fd::read_full(client, &mut head)? == 0 {
                    break;
                }
                let body = fd::read_exact(client, usize::from(u16::from_le_bytes(head)))?;
                let digest = crate::kit::chain::mix_bytes(3, &body).to_le_bytes();
                fd::write_all(client, &[&digest[..], &fd::random(8)?].concat())?;
            }
            fd::close(client)?;
        }
        Ok(0)
    })?;
    fd::close(listener)?;
    for _ in 0..3 {
        let connection = tcp_connect(port)?;
        for _ in 0..30 {
            let len = chain.below(2000) as usize;
            let body = chain.data(len);
            fd::write_all(connection, &[&(body.len() as u16).to_le_bytes()[..], &body].concat())?;
            let answer = fd::read_exact(connection, 16)?;
            check_eq!(answer[..8], crate::kit::chain::mix_bytes(3, &body).to_le_bytes(), "the server's digest");
            chain.bytes(&answer);
        }
        fd::close(connection)?;
    }
    join(server)
}

/// A connect in progress, an accept and a read that find nothing, a port that nobody listens on.
pub fn nonblocking(chain: &mut Chain) -> Result {
    let (listener, port) = tcp_listen(libc::SOCK_NONBLOCK, 8)?;
    fails!(EAGAIN, accept4(listener, null_mut(), null_mut(), 0))?;
    let near = sys!(socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0))?;
    let address = loopback(port);
    let len = socklen::<libc::sockaddr_in>();
    fails!(EINPROGRESS, connect(near, (&raw const address).cast(), len))?;
    check_eq!(fd::poll_one(near, libc::POLLOUT, 5000)?, libc::POLLOUT, "events of a connect that is done");
    let (mut error, mut size) = (77i32, 4);
    sys!(getsockopt(near, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut size))?;
    check_eq!(error, 0, "SO_ERROR");
    sys!(connect(near, (&raw const address).cast(), len))?;
    fails!(EISCONN, connect(near, (&raw const address).cast(), len))?;
    check_eq!(fd::poll_one(listener, libc::POLLIN, 5000)?, libc::POLLIN, "events of the listener");
    let (far, _) = accept(listener, libc::SOCK_NONBLOCK)?;
    let mut buffer = [0u8; 4096];
    fails!(EAGAIN, read(far, buffer.as_mut_ptr().cast(), 10))?;
    let mut sent = 0usize;
    let data = chain.data(65_536);
    loop {
        let count = plain!(send(near, data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL));
        if count == -1 {
            check_eq!(crate::kit::call::errno(), libc::EAGAIN, "error of a full socket");
            break;
        }
        sent += count as usize;
    }
    check!(sent > 10_000, "only {sent} bytes fit");
    chain.num(sent);
    sys!(shutdown(near, libc::SHUT_WR))?;
    let mut got = 0;
    while fd::poll_one(far, libc::POLLIN, 5000)? != 0 {
        let count = fd::read(far, &mut buffer)?;
        if count == 0 {
            break;
        }
        chain.bytes(&buffer[..count]);
        got += count;
    }
    check_eq!(got, sent, "bytes that came");
    fd::close_all(&[near, far, listener])?;
    let lonely = sys!(socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
    fails!(ECONNREFUSED, connect(lonely, (&raw const address).cast(), len))?;
    fd::close(lonely)
}

/// Each direction ends by itself.
pub fn shutdown(chain: &mut Chain) -> Result {
    let (near, far) = tcp_pair()?;
    let question = chain.data(500);
    fd::write_all(near, &question)?;
    sys!(shutdown(near, libc::SHUT_WR))?;
    fails!(EPIPE, send(near, question.as_ptr().cast(), 1, libc::MSG_NOSIGNAL))?;
    check_eq!(fd::read_to_end(far)?, question, "bytes before the end");
    check_eq!(
        fd::poll_one(far, libc::POLLIN | libc::POLLRDHUP, 0)?,
        libc::POLLIN | libc::POLLRDHUP,
        "events of a half-closed one"
    );
    fd::write_all(far, b"answer after the end")?;
    check_eq!(fd::read_exact(near, 20)?, b"answer after the end", "the other direction");
    sys!(shutdown(far, libc::SHUT_RDWR))?;
    check_eq!(fd::read(near, &mut [0; 8])?, 0, "end");
    fails!(ENOTCONN, shutdown(near, libc::SHUT_RD))?;
    chain.bytes(&question);
    fd::close_all(&[near, far])
}

/// A connection that is closed with unread bytes, or with SO_LINGER 0, ends with ECONNRESET at the other side.
pub fn reset(chain: &mut Chain) -> Result {
    for linger in [false, true] {
        let (near, far) = tcp_pair()?;
        if linger {
            let option = libc::linger { l_onoff: 1, l_linger: 0 };
            sys!(setsockopt(far, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const option).cast(), socklen::<libc::linger>()))?;
        } else {
            fd::write_all(near, &chain.data(10))?;
            check_eq!(fd::poll_one(far, libc::POLLIN, 5000)?, libc::POLLIN, "events of unread bytes");
        }
        fd::close(far)?;
        let events = fd::poll_one(near, libc::POLLIN, 5000)?;
        check!(events & libc::POLLERR != 0, "events {events:#x}");
        fails!(ECONNRESET, read(near, [0u8; 8].as_mut_ptr().cast(), 8))?;
        check_eq!(fd::read(near, &mut [0; 8])?, 0, "end");
        chain.num(events);
        fd::close(near)?;
    }
    Ok(())
}

/// 4 MiB each way between two processes; how it falls into pieces is an input.
pub fn large(chain: &mut Chain) -> Result {
    let (near, far) = tcp_pair()?;
    let data = chain.data(4 << 20);
    let pid = fork(|| {
        fd::close(near)?;
        let got = fd::read_exact(far, data.len())?;
        check!(got == data, "the bytes differ");
        fd::write_all(far, &got)?;
        Ok(0)
    })?;
    fd::close(far)?;
    fd::write_all(near, &data)?;
    let (mut total, mut buffer) = (0, vec![0; 300_000]);
    loop {
        let count = fd::read(near, &mut buffer)?;
        if count == 0 {
            break;
        }
        check!(buffer[..count] == data[total..total + count], "the bytes differ at {total}");
        chain.num(count);
        total += count;
    }
    check_eq!(total, data.len(), "bytes that came back");
    join(pid)?;
    fd::close(near)
}
