//! A connection's sequence numbers, queues, windows and options.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, SendFlags, bind, connect, recv, send};
use serde::{Deserialize, Serialize};

use super::super::error::During;
use super::super::options::SocketOptions;
use super::super::{Bytes, Obstacle};
use super::Info;
use super::fin::OwnFin;
use crate::sys::sock_diag::TcpState;
use crate::sys::tcp_repair::{self, Negotiated, Queue, Window};
use crate::sys::{sockaddr, sockopt};

const IPV6_FREEBIND: i32 = 78;
/// A partly acknowledged small segment stays whole in the queue: as much as one segment may come on top.
const SEGMENT_SLACK: usize = 1 << 16;
/// The kernel tells its timestamp clock without the lowest bit, which says the unit: the next value is surely not behind.
const TIMESTAMP_STEP: u32 = 2;

/// A connection that is established or half-closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub receive: ReceiveQueue,
    pub send: SendQueue,
    /// The segment size agreed on.
    pub mss: u32,
    /// Shifts of the windows sent to us and by us, if both sides scale.
    pub scales: Option<(u8, u8)>,
    pub sack: bool,
    /// The timestamp clock, if both sides use timestamps.
    pub timestamp: Option<u32>,
    pub snd_wl1: u32,
    pub snd_wnd: u32,
    pub max_window: u32,
    pub rcv_wnd: u32,
    pub rcv_wup: u32,
    pub window_clamp: u32,
    /// Has the peer's FIN been received?
    pub peer_fin: bool,
    pub own_fin: OwnFin,
}

/// What has been received and not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveQueue {
    /// The first unread byte's sequence number.
    pub seq: u32,
    pub unread: Bytes,
}

/// What has been written and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendQueue {
    /// The first byte's sequence number; without bytes that of our FIN, if it was sent.
    pub seq: u32,
    /// Sent; the peer may have it.
    pub in_flight: Bytes,
    /// Not sent yet.
    pub unsent: Bytes,
}

/// Repair mode for the time of a capture. Leaving it sends nothing.
struct Repairing<'a> {
    fd: BorrowedFd<'a>,
    /// Repair mode overwrites it.
    reuse_address: i32,
    /// Where the program's own peeks would continue; `None` where TCP has no such option (before Linux 6.9).
    peek_offset: Option<i32>,
}

impl<'a> Repairing<'a> {
    fn enter(fd: BorrowedFd<'a>, reuse_address: i32) -> Result<Self, Obstacle> {
        let peek_offset = sockopt::get(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF).ok().filter(|offset| *offset >= 0);
        tcp_repair::on(fd).during("entering repair mode")?;
        let repairing = Self { fd, reuse_address, peek_offset };
        if peek_offset.is_some() {
            sockopt::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &-1).during("setting SO_PEEK_OFF")?;
        }
        Ok(repairing)
    }
}

impl Drop for Repairing<'_> {
    fn drop(&mut self) {
        let peek = self.peek_offset.map_or(Ok(()), |offset| sockopt::set(self.fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &offset));
        let off = tcp_repair::off_silently(self.fd);
        let reuse = sockopt::set(self.fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &self.reuse_address);
        for error in [peek, off, reuse].into_iter().filter_map(Result::err) {
            tracing::error!(%error, "a captured connection could not be left as it was");
        }
    }
}

/// Reads a connection and leaves it as it was; no packet leaves.
pub(super) fn capture(fd: BorrowedFd<'_>, state: TcpState, info: Info, options: &SocketOptions) -> Result<Connection, Obstacle> {
    let own_fin = OwnFin::of(state, tcp_repair::unsent(fd).during("counting unsent bytes")?);
    let peer_fin = matches!(state, TcpState::CloseWait | TcpState::LastAck | TcpState::Closing);
    let (Some(local), Some(peer)) =
        (sockaddr::local(fd).during("reading the local address")?, sockaddr::peer(fd).during("reading the peer's address")?)
    else {
        return Err(Obstacle::Passing("a connection that lost its peer".into()));
    };

    let repairing = Repairing::enter(fd, options.int(libc::SOL_SOCKET, libc::SO_REUSEADDR))?;
    tcp_repair::select_queue(fd, Queue::Receive).during("selecting the receive queue")?;
    let rcv_nxt = tcp_repair::queue_seq(fd).during("reading the receive queue's sequence number")?;
    let unread_bytes = tcp_repair::unread(fd).during("counting unread bytes")?;
    let unread = peek(fd, unread_bytes as usize, 0)?;
    tcp_repair::select_queue(fd, Queue::Send).during("selecting the send queue")?;
    let write_seq = tcp_repair::queue_seq(fd).during("reading the send queue's sequence number")?;
    let unacknowledged = tcp_repair::unacknowledged(fd).during("counting unacknowledged bytes")?;
    let unsent = tcp_repair::unsent(fd).during("counting unsent bytes")?;
    let sent_bytes = unacknowledged.saturating_sub(own_fin.in_queue());
    let mut queue = peek(fd, sent_bytes as usize, SEGMENT_SLACK)?;
    tcp_repair::select_queue(fd, Queue::None).during("selecting no queue")?;
    let window = tcp_repair::window(fd).during("reading the windows")?;
    let mss = tcp_repair::mss_clamp(fd).during("reading the segment size")?;
    let timestamp = if info.options & 1 != 0 { Some(tcp_repair::timestamp(fd).during("reading the timestamp")?) } else { None };
    let window_clamp = sockopt::get(fd, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP).during("reading the window's clamp")?;
    drop(repairing);

    let unsent_bytes = unsent.saturating_sub(own_fin.unsent()) as usize;
    let unsent = queue.split_off(queue.len().saturating_sub(unsent_bytes));
    Ok(Connection {
        local,
        peer,
        receive: ReceiveQueue {
            seq: rcv_nxt.wrapping_sub(unread_bytes).wrapping_sub(u32::from(peer_fin)),
            unread: Bytes(unread),
        },
        send: SendQueue {
            seq: write_seq.wrapping_sub(unacknowledged).wrapping_sub(own_fin.behind()),
            in_flight: Bytes(queue),
            unsent: Bytes(unsent),
        },
        mss,
        scales: (info.options & 4 != 0).then_some((info.scales & 15, info.scales >> 4)),
        sack: info.options & 2 != 0,
        timestamp,
        snd_wl1: window.snd_wl1,
        snd_wnd: window.snd_wnd,
        max_window: window.max_window,
        rcv_wnd: window.rcv_wnd,
        rcv_wup: window.rcv_wup,
        window_clamp,
        peer_fin,
        own_fin,
    })
}

/// The last `len` bytes of the selected queue; up to `slack` more may stand before them.
fn peek(fd: BorrowedFd<'_>, len: usize, slack: usize) -> Result<Vec<u8>, Obstacle> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; len + slack];
    let (got, _) = recv(fd, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).during("reading a queue")?;
    if got < len {
        return Err(Obstacle::Passing(format!("of {len} queued bytes {got} could be read (urgent data?)")));
    }
    bytes.truncate(got);
    Ok(bytes.split_off(got - len))
}

/// Builds the connection on the stand-in, which stays in repair mode. Everything but the FINs and the unsent bytes is in place then.
pub(super) fn build(fd: BorrowedFd<'_>, v6: bool, wanted: &Connection, options: &SocketOptions) -> Result<(), Obstacle> {
    tcp_repair::on(fd).during("entering repair mode")?;
    let queued = wanted.send.in_flight.len() + wanted.send.unsent.len();
    // Before connect: the window that may be offered later comes from the buffer's size then.
    options.buffers.make_room(fd, queued, wanted.receive.unread.len()).during("making room in the buffers")?;
    // The address need not be up yet.
    if v6 {
        sockopt::set(fd, libc::IPPROTO_IPV6, IPV6_FREEBIND, &1).during("setting IPV6_FREEBIND")?;
    }
    sockopt::set(fd, libc::IPPROTO_IP, libc::IP_FREEBIND, &1).during("setting IP_FREEBIND")?;

    tcp_repair::select_queue(fd, Queue::Receive).during("selecting the receive queue")?;
    tcp_repair::set_queue_seq(fd, wanted.receive.seq).during("setting the receive queue's sequence number")?;
    tcp_repair::select_queue(fd, Queue::Send).during("selecting the send queue")?;
    tcp_repair::set_queue_seq(fd, wanted.send.seq).during("setting the send queue's sequence number")?;
    let bound = sockaddr::local(fd).during("reading the local address")?;
    if bound.is_none_or(|address| address.port() == 0) {
        bind(fd, &wanted.local).during("binding")?;
    } else if bound.map(|address| address.port()) != Some(wanted.local.port()) {
        return Err(Obstacle::Unsupported(format!("the replica's stand-in is bound to {bound:?}, not {}", wanted.local)));
    }
    connect(fd, &wanted.peer).during("connecting in repair mode")?;

    let negotiated =
        Negotiated { mss: wanted.mss, scales: wanted.scales, sack: wanted.sack, timestamps: wanted.timestamp.is_some() };
    tcp_repair::set_negotiated(fd, &negotiated).during("setting the negotiated options")?;
    if let Some(timestamp) = wanted.timestamp {
        tcp_repair::set_timestamp(fd, timestamp.wrapping_add(TIMESTAMP_STEP)).during("setting the timestamp")?;
    }
    // What is written to the send queue now counts as sent.
    fill(fd, &wanted.send.in_flight, "filling the send queue")?;
    tcp_repair::select_queue(fd, Queue::Receive).during("selecting the receive queue")?;
    fill(fd, &wanted.receive.unread, "filling the receive queue")?;
    tcp_repair::select_queue(fd, Queue::None).during("selecting no queue")?;
    tcp_repair::set_window(fd, &window_before_fin(wanted)).during("setting the windows")?;
    sockopt::set(fd, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, &wanted.window_clamp).during("setting the window's clamp")
}

/// The windows as they were before the peer's FIN, which is replayed later, moved their left edge.
fn window_before_fin(wanted: &Connection) -> Window {
    let received = wanted.receive.seq.wrapping_add(wanted.receive.unread.len() as u32);
    let mut window = Window {
        snd_wl1: wanted.snd_wl1,
        snd_wnd: wanted.snd_wnd,
        max_window: wanted.max_window,
        rcv_wnd: wanted.rcv_wnd,
        rcv_wup: wanted.rcv_wup,
    };
    if wanted.peer_fin && window.rcv_wup == received.wrapping_add(1) {
        window.rcv_wup = received;
        window.rcv_wnd += 1;
    }
    window
}

/// The kernel takes as much as fits into one buffer a time.
fn fill(fd: BorrowedFd<'_>, bytes: &[u8], step: &'static str) -> Result<(), Obstacle> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = send(fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).during(step)?;
        rest = &rest[sent..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_the_peers_fin_moved_is_moved_back_until_the_fin_is_replayed() {
        let connection = Connection {
            local: "10.0.0.1:1".parse().unwrap(),
            peer: "10.0.0.2:2".parse().unwrap(),
            receive: ReceiveQueue { seq: u32::MAX, unread: Bytes(vec![0; 4]) },
            send: SendQueue { seq: 0, in_flight: Bytes::default(), unsent: Bytes::default() },
            mss: 1460,
            scales: None,
            sack: true,
            timestamp: None,
            snd_wl1: 0,
            snd_wnd: 1,
            max_window: 1,
            rcv_wnd: 100,
            rcv_wup: 4,
            window_clamp: 100,
            peer_fin: true,
            own_fin: OwnFin::NotSent,
        };
        let window = window_before_fin(&connection);
        assert_eq!((window.rcv_wup, window.rcv_wnd), (3, 101));
        let open = Connection { peer_fin: false, ..connection };
        assert_eq!(window_before_fin(&open).rcv_wup, 4);
    }
}
