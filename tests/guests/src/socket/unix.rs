//! Unix sockets.

use super::address::pair;
use crate::kit::plain::socklen;
use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, WorkDir, fd, zero};

/// An address and its length. A name that begins with a null byte is abstract.
pub fn unix(name: &[u8]) -> (libc::sockaddr_un, libc::socklen_t) {
    let mut address: libc::sockaddr_un = zero();
    address.sun_family = libc::AF_UNIX as u16;
    for (to, &byte) in address.sun_path.iter_mut().zip(name) {
        *to = byte as libc::c_char;
    }
    let end = usize::from(name.first().is_some_and(|&byte| byte != 0));
    (address, (2 + name.len() + end) as libc::socklen_t)
}

fn bound(kind: i32, name: &[u8]) -> Result<i32> {
    let socket = sys!(socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0))?;
    let (address, len) = unix(name);
    sys!(bind(socket, (&raw const address).cast(), len))?;
    Ok(socket)
}

fn connect(kind: i32, name: &[u8]) -> Result<i32> {
    let socket = sys!(socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0))?;
    let (address, len) = unix(name);
    sys!(connect(socket, (&raw const address).cast(), len))?;
    Ok(socket)
}

/// The credentials of the process at the other end.
fn peer(socket: i32) -> Result<libc::ucred> {
    let mut credentials: libc::ucred = zero();
    let mut len = socklen::<libc::ucred>();
    sys!(getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut credentials).cast(), &raw mut len))?;
    Ok(credentials)
}

/// A server by name: requests and answers of two processes, credentials of the peer, a name that stays when nobody listens.
pub fn stream(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let listener = bound(libc::SOCK_STREAM, b"server")?;
    sys!(listen(listener, 5))?;
    let parent = pid();
    let child = fork(|| {
        let client = sys!(accept(listener, std::ptr::null_mut(), std::ptr::null_mut()))?;
        check_eq!(peer(client)?.pid, parent, "the client's process");
        loop {
            let mut byte = [0; 1];
            if fd::read(client, &mut byte)? == 0 {
                return Ok(0);
            }
            let len = usize::from(byte[0]) * 7;
            let body = fd::read_exact(client, len)?;
            fd::write_all(client, &body.iter().map(|byte| byte ^ 0x5a).collect::<Vec<_>>())?;
        }
    })?;
    let (address, len) = unix(b"server");
    let late = sys!(socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
    fails!(EADDRINUSE, bind(late, (&raw const address).cast(), len))?;
    fd::close(late)?;
    let connection = connect(libc::SOCK_STREAM, b"server")?;
    // Whoever called listen counts as the server.
    check_eq!(peer(connection)?.pid, parent, "the server's process");
    fd::close(listener)?;
    for len in 0..60u8 {
        let body = chain.data(usize::from(len) * 7);
        fd::write_all(connection, &[&[len][..], &body].concat())?;
        let answer = fd::read_exact(connection, body.len())?;
        check!(answer.iter().zip(&body).all(|(got, sent)| got ^ sent == 0x5a), "answer {len}");
        chain.bytes(&answer);
    }
    fd::close(connection)?;
    join(child)?;
    check!(connect(libc::SOCK_STREAM, b"server").is_err(), "somebody still listens");
    chain.num(child);
    Ok(())
}

/// Datagrams by name keep their bounds and the sender's name; the sender of an unbound socket has none.
pub fn datagram(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let (one, two) = (bound(libc::SOCK_DGRAM, b"one")?, bound(libc::SOCK_DGRAM, b"two")?);
    let (to, to_len) = unix(b"two");
    for len in [1usize, 500, 20_000] {
        let data = chain.data(len);
        let sent = sys!(sendto(one, data.as_ptr().cast(), len, 0, (&raw const to).cast(), to_len))?;
        check_eq!(sent as usize, len, "bytes sent");
        let mut bytes = vec![0; 30_000];
        let mut from: libc::sockaddr_un = zero();
        let mut from_len = socklen::<libc::sockaddr_un>();
        let got =
            sys!(recvfrom(two, bytes.as_mut_ptr().cast(), bytes.len(), 0, (&raw mut from).cast(), &raw mut from_len))? as usize;
        check_eq!(bytes[..got], data, "datagram");
        check_eq!((from_len, from.sun_path[..4].to_vec()), (6, unix(b"one").0.sun_path[..4].to_vec()), "sender");
        chain.bytes(&bytes[..got]);
    }
    let nameless = connect(libc::SOCK_DGRAM, b"two")?;
    fd::write_all(nameless, b"anonymous")?;
    let (mut from, mut from_len): (libc::sockaddr_un, _) = (zero(), socklen::<libc::sockaddr_un>());
    let mut bytes = [0u8; 32];
    sys!(recvfrom(two, bytes.as_mut_ptr().cast(), 32, 0, (&raw mut from).cast(), &raw mut from_len))?;
    check_eq!(from_len, 0, "length of no address");
    fails!(ENOTCONN, send(one, bytes.as_ptr().cast(), 4, 0))?;
    fd::close(two)?;
    fails!(ECONNREFUSED, send(nameless, bytes.as_ptr().cast(), 4, 0))?;
    fd::close_all(&[one, nameless])
}

/// Sequenced packets keep their bounds, connect like streams and end with a 0.
pub fn seqpacket(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    let listener = bound(libc::SOCK_SEQPACKET, b"server")?;
    sys!(listen(listener, 5))?;
    let child = fork(|| {
        let connection = connect(libc::SOCK_SEQPACKET, b"server")?;
        for len in 1..40 {
            let packet = vec![len as u8; len * 11];
            check_eq!(fd::write(connection, &packet)?, packet.len(), "bytes of a packet");
        }
        fd::read_exact(connection, 4)?;
        Ok(0)
    })?;
    let far = sys!(accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC))?;
    check_eq!(peer(far)?.pid, child, "the client's process");
    let mut buffer = [0; 4096];
    for len in 1..40 {
        check_eq!(fd::read(far, &mut buffer)?, len * 11, "packet {len}");
        check!(buffer[..len * 11].iter().all(|&byte| byte == len as u8), "bytes of packet {len}");
    }
    fd::write_all(far, b"done")?;
    check_eq!(fd::read(far, &mut buffer)?, 0, "end");
    join(child)?;
    chain.num(child);
    fd::close_all(&[far, listener])
}

/// Abstract names live without a file and vanish with the socket; a socket may get a name from the kernel.
pub fn abstract_names(chain: &mut Chain) -> Result {
    let name = format!("\0guest-{}-{}", pid(), chain.below(1 << 30));
    let listener = bound(libc::SOCK_STREAM, name.as_bytes())?;
    sys!(listen(listener, 1))?;
    check!(bound(libc::SOCK_STREAM, name.as_bytes()).is_err(), "the name was taken twice");
    let near = connect(libc::SOCK_STREAM, name.as_bytes())?;
    let mut address: libc::sockaddr_un = zero();
    let mut len = socklen::<libc::sockaddr_un>();
    sys!(getpeername(near, (&raw mut address).cast(), &raw mut len))?;
    check_eq!(len as usize, 2 + name.len(), "length of the peer's name");
    check_eq!(address.sun_path[..name.len()], unix(name.as_bytes()).0.sun_path[..name.len()], "the peer's name");
    let far = sys!(accept(listener, std::ptr::null_mut(), std::ptr::null_mut()))?;
    fd::write_all(near, name.as_bytes())?;
    chain.bytes(&fd::read_exact(far, name.len())?);
    fd::close_all(&[near, far, listener])?;
    check!(connect(libc::SOCK_STREAM, name.as_bytes()).is_err(), "the name outlived its socket");
    let auto = sys!(socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0))?;
    sys!(bind(auto, (&raw const address).cast(), 2))?;
    len = socklen::<libc::sockaddr_un>();
    sys!(getsockname(auto, (&raw mut address).cast(), &raw mut len))?;
    check!(len == 8 && address.sun_path[0] == 0, "a name of {len} bytes");
    address.sun_path[1..6].iter().for_each(|&byte| chain.num(byte));
    fd::close(auto)
}

/// Pairs of all three kinds, across a fork: both ends talk, and the one that is left sees the end.
pub fn pairs(chain: &mut Chain) -> Result {
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
        let (near, far) = pair(kind)?;
        let child = fork(|| {
            fd::close(near)?;
            for _ in 0..20 {
                let mut packet = fd::read_exact(far, 100)?;
                packet.rotate_left(3);
                fd::write_all(far, &packet)?;
            }
            Ok(0)
        })?;
        fd::close(far)?;
        for _ in 0..20 {
            let mut packet = chain.data(100);
            fd::write_all(near, &packet)?;
            let answer = fd::read_exact(near, 100)?;
            packet.rotate_left(3);
            check_eq!(answer, packet, "answer by kind {kind}");
            chain.bytes(&answer);
        }
        join(child)?;
        if kind == libc::SOCK_DGRAM {
            fails!(ECONNREFUSED, send(near, b"x".as_ptr().cast(), 1, libc::MSG_NOSIGNAL))?;
        } else {
            check_eq!(fd::read(near, &mut [0; 8])?, 0, "end");
            fails!(EPIPE, send(near, b"x".as_ptr().cast(), 1, libc::MSG_NOSIGNAL))?;
        }
        fd::close(near)?;
    }
    Ok(())
}
