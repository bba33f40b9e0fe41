//! A connection that is over while its descriptor is still open: reset by the peer, timed out, or closed from both sides.
//!
//! What the program can still see of it is unread bytes, an error that was not reported yet, and the end of the stream. A
//! connection to nowhere that we reset ourselves shows it the same.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};

use super::super::error::During;
use super::super::options::SocketOptions;
use super::super::{Bytes, Obstacle};
use super::connection::{self, Connection, ReceiveQueue, SendQueue};
use super::fin::{OwnFin, from_peer, wait_for};
use crate::sys::raw_tcp::{RawTcp, flags};
use crate::sys::sock_diag::TcpState;
use crate::sys::{poll, sockaddr, sockopt, tcp_repair};

/// Nobody listens there, and nothing is sent there.
const NOWHERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9);
const ANY_WINDOW: u32 = 0xffff;

/// What is left of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub unread: Bytes,
    /// Does an error wait to be reported? Which one cannot be seen without taking it; the replica reports a reset.
    pub error: bool,
}

/// Was the closed socket ever connected? Only then are both its directions shut down.
pub(super) fn is_over(fd: BorrowedFd<'_>) -> Result<bool, Obstacle> {
    Ok(poll::ready(fd, libc::POLLRDHUP).during("polling")? & libc::POLLRDHUP != 0)
}

pub(super) fn capture(fd: BorrowedFd<'_>) -> Result<Ended, Obstacle> {
    let error = poll::ready(fd, 0).during("polling")? & libc::POLLERR != 0;
    let len = tcp_repair::unread(fd).during("counting unread bytes")? as usize;
    let mut unread = vec![0; len];
    // Without bytes a peek would take the error.
    if len > 0 {
        let (got, _) = recv(fd, &mut unread[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).during("reading unread bytes")?;
        if got < len {
            return Err(Obstacle::Passing(format!("of {len} unread bytes {got} could be read")));
        }
    }
    Ok(Ended { unread: Bytes(unread), error })
}

/// Builds a connection to nowhere with the unread bytes and resets it. It stays in repair mode.
pub(super) fn restore(
    fd: BorrowedFd<'_>,
    v6: bool,
    wanted: &Ended,
    options: &SocketOptions,
    raw: &RawTcp,
) -> Result<(), Obstacle> {
    let ip = if v6 { IpAddr::V6(NOWHERE.0.to_ipv6_mapped()) } else { IpAddr::V4(NOWHERE.0) };
    if v6 {
        sockopt::set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &0).during("clearing IPV6_V6ONLY")?;
    }
    let bound = sockaddr::local(fd).during("reading the local address")?.filter(|address| address.port() != 0);
    let received = wanted.unread.len() as u32;
    let mut nowhere = Connection {
        local: bound.unwrap_or(SocketAddr::new(ip, 0)),
        peer: SocketAddr::new(ip, NOWHERE.1),
        receive: ReceiveQueue { seq: 0, unread: wanted.unread.clone() },
        send: SendQueue { seq: 0, in_flight: Bytes::default(), unsent: Bytes::default() },
        mss: 1460,
        scales: None,
        sack: false,
        timestamp: None,
        snd_wl1: received,
        snd_wnd: ANY_WINDOW,
        max_window: ANY_WINDOW,
        rcv_wnd: ANY_WINDOW,
        rcv_wup: received,
        window_clamp: ANY_WINDOW,
        peer_fin: false,
        own_fin: OwnFin::NotSent,
    };
    connection::build(fd, v6, &nowhere, options)?;
    if let Some(local) = sockaddr::local(fd).during("reading the local address")? {
        nowhere.local = local;
    }
    raw.send(&from_peer(&nowhere, received, 0, flags::RST)).during("sending a reset to ourselves")?;
    wait_for(fd, TcpState::Closed)?;
    if !wanted.error {
        // Reading the error takes it.
        let _: i32 = sockopt::get(fd, libc::SOL_SOCKET, libc::SO_ERROR).during("taking the error")?;
    }
    Ok(())
}
