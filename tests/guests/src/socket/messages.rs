//! Messages and their flags.

use std::ptr::null_mut;

use super::address::{pair, tcp_pair};
use crate::kit::clock::sleep_ms;
use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, fd, zero};

fn recv(socket: i32, room: usize, flags: i32) -> Result<(usize, Vec<u8>)> {
    let mut bytes = vec![0; room];
    let count = sys!(recv(socket, bytes.as_mut_ptr().cast(), room, flags))? as usize;
    bytes.truncate(count);
    Ok((count, bytes))
}

/// MSG_PEEK leaves bytes, MSG_TRUNC tells the whole length, MSG_WAITALL waits, MSG_DONTWAIT does not, MSG_OOB is out of band.
pub fn flags(chain: &mut Chain) -> Result {
    let (near, far) = pair(libc::SOCK_DGRAM)?;
    let data = chain.data(100);
    fd::write_all(far, &data)?;
    check_eq!(recv(near, 10, libc::MSG_PEEK)?, (10, data[..10].to_vec()), "a peek");
    check_eq!(recv(near, 10, libc::MSG_PEEK | libc::MSG_TRUNC)?.0, 100, "length by MSG_TRUNC");
    check_eq!(recv(near, 200, 0)?, (100, data.clone()), "the datagram");
    fails!(EAGAIN, recv(near, [0u8; 8].as_mut_ptr().cast(), 8, libc::MSG_DONTWAIT))?;
    fd::close_all(&[near, far])?;

    for tcp in [false, true] {
        let (near, far) = if tcp { tcp_pair()? } else { pair(libc::SOCK_STREAM)? };
        let data = chain.data(3000);
        let child = fork(|| {
            for piece in data.chunks(1000) {
                fd::write_all(far, piece)?;
                sleep_ms(3)?;
            }
            Ok(0)
        })?;
        check_eq!(recv(near, 3000, libc::MSG_WAITALL)?, (3000, data.clone()), "all of it");
        join(child)?;
        fd::write_all(far, &data[..50])?;
        check_eq!(recv(near, 20, libc::MSG_PEEK)?.1, data[..20], "a peek at a stream");
        check_eq!(recv(near, 100, 0)?.1, data[..50], "the stream");
        if tcp {
            fd::write_all(far, b"in")?;
            check_eq!(sys!(send(far, b"!".as_ptr().cast(), 1, libc::MSG_OOB))?, 1, "an urgent byte");
            check!(fd::poll_one(near, libc::POLLPRI, 5000)? & libc::POLLPRI != 0, "no urgent event");
            check_eq!(recv(near, 10, libc::MSG_OOB)?.1, b"!", "the urgent byte");
            check_eq!(recv(near, 10, 0)?.1, b"in", "the bytes before it");
            check_eq!(sys!(send(far, data.as_ptr().cast(), 100, libc::MSG_MORE))?, 100, "bytes with MSG_MORE");
            check_eq!(sys!(send(far, data.as_ptr().cast(), 100, 0))?, 100, "bytes that push them");
            check_eq!(recv(near, 200, libc::MSG_WAITALL)?.0, 200, "both");
        }
        chain.bytes(&data);
        fd::close_all(&[near, far])?;
    }
    Ok(())
}

/// `sendmsg` and `recvmsg` gather and scatter; msg_flags tells what was cut.
pub fn scattered(chain: &mut Chain) -> Result {
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        let (near, far) = pair(kind)?;
        let data = chain.data(600);
        let (mut a, mut b) = (data[..250].to_vec(), data[250..].to_vec());
        let mut gather = [&mut a, &mut b].map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
        let mut message: libc::msghdr = zero();
        message.msg_iov = gather.as_mut_ptr();
        message.msg_iovlen = 2;
        check_eq!(sys!(sendmsg(far, &raw const message, 0))?, 600, "bytes sent");
        let (mut c, mut d) = ([0u8; 100], [0u8; 300]);
        let mut scatter = [
            libc::iovec { iov_base: c.as_mut_ptr().cast(), iov_len: 100 },
            libc::iovec { iov_base: d.as_mut_ptr().cast(), iov_len: 300 },
        ];
        message.msg_iov = scatter.as_mut_ptr();
        check_eq!(sys!(recvmsg(near, &raw mut message, 0))?, 400, "bytes received");
        check_eq!([&c[..], &d].concat(), data[..400], "bytes");
        let cut = if kind == libc::SOCK_DGRAM { libc::MSG_TRUNC } else { 0 };
        check_eq!(message.msg_flags & libc::MSG_TRUNC, cut, "flags");
        chain.bytes(&c);
        chain.bytes(&d);
        if kind == libc::SOCK_STREAM {
            check_eq!(recv(near, 1000, 0)?.1, data[400..], "the rest");
        }
        fd::close_all(&[near, far])?;
    }
    Ok(())
}

/// Ten datagrams by one call each way.
pub fn many(chain: &mut Chain) -> Result {
    let (near, far) = pair(libc::SOCK_DGRAM)?;
    let mut packets: Vec<Vec<u8>> = (1..=10).map(|len| chain.data(len * 13)).collect();
    let wanted = packets.clone();
    let headers = |packets: &mut Vec<Vec<u8>>, vectors: &mut Vec<libc::iovec>| {
        vectors.extend(packets.iter_mut().map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() }));
        let mut headers: Vec<libc::mmsghdr> = Vec::new();
        for vector in vectors.iter_mut() {
            let mut header: libc::mmsghdr = zero();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            headers.push(header);
        }
        headers
    };
    let mut vectors = Vec::new();
    let mut out = headers(&mut packets, &mut vectors);
    check_eq!(sys!(sendmmsg(far, out.as_mut_ptr(), 10, 0))?, 10, "datagrams sent");
    for (header, packet) in out.iter().zip(&wanted) {
        check_eq!(header.msg_len as usize, packet.len(), "length sent");
    }
    let (mut room, mut vectors) = (vec![vec![0u8; 100]; 12], Vec::new());
    let mut into = headers(&mut room, &mut vectors);
    check_eq!(sys!(recvmmsg(near, into.as_mut_ptr(), 4, 0, null_mut()))?, 4, "datagrams received");
    let mut wait = crate::kit::clock::timespec(1_000_000_000);
    check_eq!(sys!(recvmmsg(near, into[4..].as_mut_ptr(), 8, libc::MSG_WAITFORONE, &raw mut wait))?, 6, "the others");
    for ((header, bytes), packet) in into.iter().zip(&room).zip(&wanted) {
        let len = header.msg_len as usize;
        check_eq!((len, header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0), (packet.len().min(100), packet.len() > 100), "length");
        check_eq!(bytes[..len], packet[..len], "bytes");
        chain.bytes(&bytes[..len]);
    }
    fails!(EAGAIN, recvmmsg(near, into.as_mut_ptr(), 4, libc::MSG_DONTWAIT, null_mut()))?;
    fd::close_all(&[near, far])
}
