//! TCP sockets.
//!
//! [`connection`] moves a connection's state through `TCP_REPAIR`, [`fin`] the ends of half-closed ones, [`release`] wakes it in its
//! new place, [`ended`] rebuilds what is left of one that is over.

mod connection;
mod ended;
mod fin;
mod release;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{bind, listen};
use serde::{Deserialize, Serialize};

use super::Obstacle;
use super::error::During;
use super::options::{self, Family, SocketOptions};
use crate::sys::raw_tcp::RawTcp;
use crate::sys::sock_diag::{self, TcpState};
use crate::sys::{sockaddr, sockopt};

pub use connection::{Connection, ReceiveQueue, SendQueue};
pub use ended::Ended;
pub use fin::OwnFin;
pub(super) use release::Held;

/// A TCP socket's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpSocket {
    pub options: SocketOptions,
    pub state: TcpSocketState,
}

/// What a TCP socket is in the middle of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcpSocketState {
    /// Made, perhaps bound, not connected and not listening.
    Fresh {
        local: Option<SocketAddr>,
    },
    Listening {
        local: SocketAddr,
        /// The most connections that may wait to be accepted.
        backlog: u32,
    },
    Connected(Connection),
    Ended(Ended),
}

/// The first bytes of `struct tcp_info`, all that is needed of it.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Info {
    state: u8,
    congestion: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    /// `TCPI_OPT_TIMESTAMPS` (1), `TCPI_OPT_SACK` (2), `TCPI_OPT_WSCALE` (4).
    options: u8,
    /// What shifts the peer's windows in the lower, ours in the upper half.
    scales: u8,
    flags: u8,
}

fn info(fd: BorrowedFd<'_>) -> Result<(TcpState, Info), Obstacle> {
    let info: Info = sockopt::get(fd, libc::IPPROTO_TCP, libc::TCP_INFO).during("reading TCP_INFO")?;
    let state = TcpState::from_raw(info.state)
        .ok_or_else(|| Obstacle::Unsupported(format!("a connection in state {} of the kernel's", info.state)))?;
    Ok((state, info))
}

/// The listening sockets of a network namespace by inode.
pub(super) fn listeners(diag: &sock_diag::Diag) -> std::io::Result<HashMap<u64, sock_diag::TcpSocket>> {
    Ok(diag.tcp(&[TcpState::Listen])?.into_iter().map(|socket| (u64::from(socket.inode), socket)).collect())
}

/// Reads a socket and leaves it as it was. Also gives the connections that wait to be accepted.
///
/// # Errors
/// [`Obstacle::Passing`] for a connection that is being made, [`Obstacle::Unsupported`] for TLS in the kernel and urgent data.
pub(super) fn capture(
    fd: BorrowedFd<'_>,
    v6: bool,
    listener: Option<&sock_diag::TcpSocket>,
) -> Result<(TcpSocket, u32), Obstacle> {
    let protocol = options::name(fd, libc::IPPROTO_TCP, libc::TCP_ULP)?;
    if !protocol.is_empty() {
        return Err(Obstacle::Unsupported(format!("a connection with {protocol} in the kernel")));
    }
    let (state, info) = info(fd)?;
    let kind = if state == TcpState::Listen { options::LISTENER } else { options::STREAM };
    let options = SocketOptions::capture(fd, Family { kind, v6 })?;
    let mut waiting = 0;
    let state = match state {
        TcpState::Listen => {
            let local = sockaddr::local(fd).during("reading the local address")?;
            let (Some(local), Some(listener)) = (local, listener) else {
                return Err(Obstacle::Unsupported("a listening socket of another network namespace".into()));
            };
            waiting = listener.receive_queue;
            TcpSocketState::Listening { local, backlog: listener.send_queue }
        }
        TcpState::Closed if ended::is_over(fd)? => TcpSocketState::Ended(ended::capture(fd)?),
        TcpState::Closed => {
            let local = sockaddr::local(fd).during("reading the local address")?;
            TcpSocketState::Fresh { local: local.filter(|address| address.port() != 0) }
        }
        TcpState::SynSent | TcpState::SynReceived => {
            return Err(Obstacle::Passing("a connection is being made".into()));
        }
        state => TcpSocketState::Connected(connection::capture(fd, state, info, &options)?),
    };
    Ok((TcpSocket { options, state }, waiting))
}

/// Brings the replica's stand-in to the source's state. A connection stays in repair mode, in the returned value, until it is released.
///
/// # Errors
/// [`Obstacle::Unsupported`] if the stand-in is not what it should be, or a failing call.
pub(super) fn restore(
    fd: std::os::fd::OwnedFd,
    v6: bool,
    wanted: &TcpSocket,
    listener: Option<&sock_diag::TcpSocket>,
    raw: &RawTcp,
) -> Result<(Option<Held>, Vec<String>), Obstacle> {
    use std::os::fd::AsFd;

    let held = fd.as_fd();
    let (found, _) = info(held)?;
    let expected = if matches!(wanted.state, TcpSocketState::Listening { .. }) { TcpState::Listen } else { TcpState::Closed };
    if found != expected {
        return Err(Obstacle::Unsupported(format!("the replica's stand-in is {found:?}, not {expected:?}")));
    }
    match &wanted.state {
        TcpSocketState::Fresh { local } => {
            let failed = wanted.options.restore(held);
            wanted.options.buffers.restore(held).during("setting buffer sizes")?;
            let bound = sockaddr::local(held).during("reading the local address")?.is_some_and(|address| address.port() != 0);
            if let (Some(local), false) = (local, bound) {
                bind(held, local).during("binding")?;
            }
            Ok((None, failed))
        }
        TcpSocketState::Listening { local, backlog } => {
            let bound = sockaddr::local(held).during("reading the local address")?;
            if bound != Some(*local) {
                let bound = bound.map_or("nothing".into(), |address| address.to_string());
                return Err(Obstacle::Unsupported(format!("the replica listens at {bound}, the source at {local}")));
            }
            let failed = wanted.options.restore(held);
            wanted.options.buffers.restore(held).during("setting buffer sizes")?;
            if listener.is_some_and(|listener| listener.send_queue != *backlog) {
                listen(held, i32::try_from(*backlog).unwrap_or(i32::MAX)).during("setting the backlog")?;
            }
            Ok((None, failed))
        }
        TcpSocketState::Connected(connection) => {
            connection::build(held, v6, connection, &wanted.options)?;
            fin::restore(held, connection, raw)?;
            let failed = wanted.options.restore(held);
            Ok((Some(Held::connection(fd, connection, &wanted.options)), failed))
        }
        TcpSocketState::Ended(ended) => {
            ended::restore(held, v6, ended, &wanted.options, raw)?;
            let failed = wanted.options.restore(held);
            Ok((Some(Held::ended(fd, &wanted.options)), failed))
        }
    }
}
