//! UDP: addresses. Datagrams that nobody read are lost, as the protocol allows, and counted.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, bind, connect};
use serde::{Deserialize, Serialize};

use super::Obstacle;
use super::error::During;
use super::options::{self, Family, SocketOptions};
use super::unix::PeekFromStart;
use crate::sys::{poll, sockaddr};

/// No queue is longer than this: a datagram takes some 700 bytes of a receive buffer of at most 2 GiB.
const MOST_DATAGRAMS: u32 = 1 << 22;

/// A UDP socket's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpSocket {
    /// `None` when not bound to a port.
    pub local: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
    pub options: SocketOptions,
}

/// Reads addresses and options, and counts the datagrams that will be lost.
///
/// # Errors
/// A failing call.
pub(super) fn capture(fd: BorrowedFd<'_>, v6: bool) -> Result<(UdpSocket, u32), Obstacle> {
    let local = sockaddr::local(fd).during("reading the local address")?;
    let peer = sockaddr::peer(fd).during("reading the peer's address")?;
    let options = SocketOptions::capture(fd, Family { kind: options::UDP, v6 })?;
    let lost = count_datagrams(fd)?;
    Ok((UdpSocket { local: local.filter(|address| address.port() != 0), peer, options }, lost))
}

/// Walks the queue without taking anything.
fn count_datagrams(fd: BorrowedFd<'_>) -> Result<u32, Obstacle> {
    // An error that waits for the program (a refused send) is told once, and a peek would take it.
    if poll::ready(fd, libc::POLLIN).during("polling")? & libc::POLLERR != 0 {
        return Ok(0);
    }
    let _restored_at_the_end = PeekFromStart::of(fd).during("setting SO_PEEK_OFF")?;
    let mut buffer = [0u8; 1 << 16];
    let mut count = 0;
    while count < MOST_DATAGRAMS {
        match rustix::net::recv(fd, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok(_) => count += 1,
            Err(_) => break,
        }
    }
    Ok(count)
}

/// Brings the stand-in to the source's addresses and options; returns what options could not be set.
///
/// # Errors
/// A failing bind or connect.
pub(super) fn restore(fd: BorrowedFd<'_>, wanted: &UdpSocket) -> Result<Vec<String>, Obstacle> {
    let failed = wanted.options.restore(fd);
    wanted.options.buffers.restore(fd).during("setting buffer sizes")?;
    let local = sockaddr::local(fd).during("reading the local address")?.filter(|address| address.port() != 0);
    if let (Some(address), None) = (wanted.local, local) {
        bind(fd, &address).during("binding")?;
    }
    if let Some(peer) = wanted.peer
        && sockaddr::peer(fd).during("reading the peer's address")? != Some(peer)
    {
        connect(fd, &peer).during("connecting")?;
    }
    Ok(failed)
}
