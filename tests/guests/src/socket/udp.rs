//! UDP over loopback.

use std::ptr::null_mut;

use super::address::{loopback, port_of};
use crate::kit::plain::socklen;
use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, fd, zero};

fn bound() -> Result<(i32, u16)> {
    let socket = sys!(socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
    let address = loopback(0);
    sys!(bind(socket, (&raw const address).cast(), socklen::<libc::sockaddr_in>()))?;
    Ok((socket, port_of(socket)?))
}

fn send(socket: i32, bytes: &[u8], port: u16) -> Result {
    let address = loopback(port);
    let to = (&raw const address).cast();
    let count = sys!(sendto(socket, bytes.as_ptr().cast(), bytes.len(), 0, to, socklen::<libc::sockaddr_in>()))?;
    check_eq!(count as usize, bytes.len(), "bytes sent");
    Ok(())
}

fn receive(socket: i32, room: usize) -> Result<(Vec<u8>, u16)> {
    let mut bytes = vec![0; room];
    let mut address: libc::sockaddr_in = zero();
    let mut len = socklen::<libc::sockaddr_in>();
    let count = sys!(recvfrom(socket, bytes.as_mut_ptr().cast(), room, 0, (&raw mut address).cast(), &raw mut len))?;
    bytes.truncate(count as usize);
    Ok((bytes, u16::from_be(address.sin_port)))
}

/// Datagrams keep their bounds and their sender; an empty one counts; one that is too long is cut.
pub fn udp(chain: &mut Chain) -> Result {
    let ((one, one_port), (two, two_port)) = (bound()?, bound()?);
    for len in [1, 0, 100, 9000] {
        let data = chain.data(len);
        send(one, &data, two_port)?;
        check_eq!(receive(two, 10_000)?, (data.clone(), one_port), "datagram of {len} bytes");
        chain.bytes(&data);
    }
    let data = chain.data(200);
    send(one, &data, two_port)?;
    send(one, b"next", two_port)?;
    check_eq!(receive(two, 50)?.0, data[..50], "a cut datagram");
    check_eq!(receive(two, 50)?.0, b"next", "the one behind it");
    let server = fork(|| {
        for _ in 0..50 {
            let (mut bytes, from) = receive(two, 2000)?;
            bytes.extend(fd::random(4)?);
            send(two, &bytes, from)?;
        }
        Ok(0)
    })?;
    for _ in 0..50 {
        let len = 1 + chain.below(1000) as usize;
        let data = chain.data(len);
        send(one, &data, two_port)?;
        let (answer, from) = receive(one, 2000)?;
        check_eq!((&answer[..len], from), (&data[..], two_port), "the child's answer");
        chain.bytes(&answer);
    }
    join(server)?;
    fd::close_all(&[one, two])
}

/// A connected socket hears only its peer, and learns that a port is closed.
pub fn connected(chain: &mut Chain) -> Result {
    let ((one, one_port), (two, two_port), (three, three_port)) = (bound()?, bound()?, bound()?);
    let address = loopback(two_port);
    sys!(connect(one, (&raw const address).cast(), socklen::<libc::sockaddr_in>()))?;
    send(three, b"stranger", one_port)?;
    send(two, b"friend", one_port)?;
    check_eq!(receive(one, 50)?, (b"friend".to_vec(), two_port), "what a connected socket hears");
    check_eq!(fd::write(one, &chain.data(33))?, 33, "bytes written");
    check_eq!(receive(two, 50)?.1, one_port, "sender");
    fd::close(two)?;
    fd::write(one, b"anybody")?;
    check!(fd::poll_one(one, libc::POLLIN, 5000)? & libc::POLLERR != 0, "no error of a closed port");
    fails!(ECONNREFUSED, recv(one, [0u8; 8].as_mut_ptr().cast(), 8, libc::MSG_DONTWAIT))?;
    fails!(EAGAIN, recv(one, [0u8; 8].as_mut_ptr().cast(), 8, libc::MSG_DONTWAIT))?;
    let mut nobody: libc::sockaddr_in = zero();
    nobody.sin_family = libc::AF_UNSPEC as u16;
    sys!(connect(one, (&raw const nobody).cast(), socklen::<libc::sockaddr_in>()))?;
    fails!(EDESTADDRREQ, send(one, b"x".as_ptr().cast(), 1, 0))?;
    let mut len = socklen::<libc::sockaddr_in>();
    fails!(ENOTCONN, getpeername(one, (&raw mut nobody).cast(), &raw mut len))?;
    fails!(EMSGSIZE, sendto(three, vec![0u8; 70_000].as_ptr().cast(), 70_000, 0, (&raw const address).cast(), 16))?;
    check_eq!(plain!(recv(three, null_mut(), 0, libc::MSG_DONTWAIT)), -1, "nothing to hear");
    [one_port, two_port, three_port].into_iter().for_each(|port| chain.num(port));
    fd::close_all(&[one, three])
}
