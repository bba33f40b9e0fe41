//! `NETLINK_SOCK_DIAG`: every socket of a network namespace, also those that no descriptor leads to.
//!
//! Layouts are those of linux/inet_diag.h and linux/unix_diag.h. A netlink socket asks the namespace that it was made in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};

use super::enter_netns;
use super::netlink::{Netlink, attributes, prefix};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW: u32 = 0x04 | 0x10;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_SHUTDOWN: u16 = 6;
/// How often a bounded wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A connection's state, numbered as in include/net/tcp_states.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl TcpState {
    /// The state with the kernel's number `raw`; request sockets (12) count as `SynReceived`.
    #[must_use]
    pub fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// One TCP socket. `inode` is 0 when no descriptor leads to it: closed but not drained, or not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    pub state: TcpState,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub inode: u32,
    /// Unread bytes; of a listener the connections that wait for `accept`.
    pub receive_queue: u32,
    /// Unacknowledged bytes; of a listener the most connections that may wait.
    pub send_queue: u32,
}

/// One unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    pub inode: u32,
    /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
    pub kind: i32,
    pub listening: bool,
    /// The connected socket's inode; 0 without one.
    pub peer: u32,
    /// Unread bytes (of datagrams: the first one's); of a listener the connections that wait for `accept`.
    pub receive_queue: u32,
    /// Of a listener the most connections that may wait.
    pub send_queue: u32,
    /// `RCV_SHUTDOWN` (1) and `SEND_SHUTDOWN` (2).
    pub shutdown: u8,
}

/// A listening socket's queue of established connections that nobody accepted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    pub local: SocketAddr,
    pub waiting: u32,
    pub limit: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SockId {
    ports_be: [u8; 4],
    src: [u8; 16],
    dst: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct InetRequest {
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: SockId,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct InetMessage {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    id: SockId,
    expires: u32,
    receive_queue: u32,
    send_queue: u32,
    uid: u32,
    inode: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct UnixRequest {
    family: u8,
    protocol: u8,
    pad: u16,
    states: u32,
    inode: u32,
    show: u32,
    cookie: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct UnixMessage {
    family: u8,
    kind: u8,
    state: u8,
    pad: u8,
    inode: u32,
    cookie: [u32; 2],
}

const _: () = assert!(size_of::<InetRequest>() == 56 && size_of::<InetMessage>() == 72);
const _: () = assert!(size_of::<UnixRequest>() == 24 && size_of::<UnixMessage>() == 16);

/// A socket that asks about one network namespace.
#[derive(Debug)]
pub struct Diag(Netlink);

impl Diag {
    /// Asks about the caller's namespace.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn open() -> io::Result<Self> {
        Netlink::open(libc::NETLINK_SOCK_DIAG).map(Self)
    }

    /// Asks about the namespace `ns`.
    ///
    /// # Errors
    /// As [`enter_netns::within`] and [`Diag::open`].
    pub fn open_in(ns: impl AsFd) -> io::Result<Self> {
        enter_netns::within(ns, Self::open)?
    }

    /// The TCP sockets, IPv4 and IPv6, that are in one of `states`.
    ///
    /// # Errors
    /// What the kernel answers, or `InvalidData` if the answer makes no sense.
    pub fn tcp(&self, states: &[TcpState]) -> io::Result<Vec<TcpSocket>> {
        let mut mask = states.iter().fold(0, |mask, state| mask | state.bit());
        if mask & TcpState::SynReceived.bit() != 0 {
            // TCP_NEW_SYN_RECV: half-open connections are small sockets with a state of their own.
            mask |= 1 << 12;
        }
        let mut sockets = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let request =
                InetRequest { family: family as u8, protocol: libc::IPPROTO_TCP as u8, states: mask, ..InetRequest::zeroed() };
            self.0.list(SOCK_DIAG_BY_FAMILY, bytemuck::bytes_of(&request), |body| {
                let message: InetMessage = prefix(body)?;
                if let Some(state) = TcpState::from_raw(message.state) {
                    sockets.push(TcpSocket {
                        state,
                        local: address(message.family, &message.id.src, &message.id.ports_be[..2]),
                        peer: address(message.family, &message.id.dst, &message.id.ports_be[2..]),
                        inode: message.inode,
                        receive_queue: message.receive_queue,
                        send_queue: message.send_queue,
                    });
                }
                Ok(())
            })?;
        }
        Ok(sockets)
    }

    /// The unix sockets.
    ///
    /// # Errors
    /// As [`Diag::tcp`].
    pub fn unix(&self) -> io::Result<Vec<UnixSocket>> {
        let request = UnixRequest { family: libc::AF_UNIX as u8, states: !0, show: UDIAG_SHOW, ..UnixRequest::zeroed() };
        let mut sockets = Vec::new();
        self.0.list(SOCK_DIAG_BY_FAMILY, bytemuck::bytes_of(&request), |body| {
            let message: UnixMessage = prefix(body)?;
            let mut socket = UnixSocket {
                inode: message.inode,
                kind: i32::from(message.kind),
                listening: message.state == TcpState::Listen as u8,
                peer: 0,
                receive_queue: 0,
                send_queue: 0,
                shutdown: 0,
            };
            for (kind, value) in attributes(&body[size_of::<UnixMessage>()..]) {
                match (kind, value) {
                    (UNIX_DIAG_PEER, [a, b, c, d]) => socket.peer = u32::from_ne_bytes([*a, *b, *c, *d]),
                    (UNIX_DIAG_RQLEN, [a, b, c, d, e, f, g, h]) => {
                        socket.receive_queue = u32::from_ne_bytes([*a, *b, *c, *d]);
                        socket.send_queue = u32::from_ne_bytes([*e, *f, *g, *h]);
                    }
                    (UNIX_DIAG_SHUTDOWN, [mask, ..]) => socket.shutdown = *mask,
                    _ => {}
                }
            }
            sockets.push(socket);
            Ok(())
        })?;
        Ok(sockets)
    }
}

fn address(family: u8, ip: &[u8; 16], port_be: &[u8]) -> SocketAddr {
    let ip = if i32::from(family) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]))
    } else {
        IpAddr::V6(Ipv6Addr::from(*ip))
    };
    SocketAddr::new(ip, u16::from_be_bytes([port_be[0], port_be[1]]))
}

/// Waits until no closed connection in `ns` has bytes or a FIN left that its peer did not acknowledge; returns how many still have after `limit`.
///
/// Each look walks the kernel's table of all connections, which takes a millisecond or two. No descriptor leads to such a connection, so it cannot be moved: what it has not delivered would be lost. FIN_WAIT2
/// orphans have delivered everything and are not waited for.
///
/// # Errors
/// As [`Diag::open_in`] and [`Diag::tcp`].
pub fn wait_orphans_drained(ns: impl AsFd, limit: Duration) -> io::Result<usize> {
    let diag = Diag::open_in(ns)?;
    let deadline = Instant::now() + limit;
    loop {
        let orphans = diag
            .tcp(&[TcpState::FinWait1, TcpState::Closing, TcpState::LastAck])?
            .iter()
            .filter(|socket| socket.inode == 0)
            .count();
        if orphans == 0 || Instant::now() >= deadline {
            return Ok(orphans);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The queues of the listening sockets in `ns`.
///
/// # Errors
/// As [`Diag::open_in`] and [`Diag::tcp`].
pub fn accept_queue_lengths(ns: impl AsFd) -> io::Result<Vec<AcceptQueue>> {
    let listeners = Diag::open_in(ns)?.tcp(&[TcpState::Listen])?;
    Ok(listeners
        .into_iter()
        .map(|socket| AcceptQueue { local: socket.local, waiting: socket.receive_queue, limit: socket.send_queue })
        .collect())
}

/// Waits until every accept queue in `ns` is empty; returns how many connections still wait after `limit`.
///
/// New connections must be kept out first, or this may never end before the limit.
///
/// # Errors
/// As [`accept_queue_lengths`].
pub fn wait_accept_queues_empty(ns: impl AsFd, limit: Duration) -> io::Result<u32> {
    let diag = Diag::open_in(ns)?;
    let deadline = Instant::now() + limit;
    loop {
        let waiting = diag.tcp(&[TcpState::Listen])?.iter().map(|socket| socket.receive_queue).sum();
        if waiting == 0 || Instant::now() >= deadline {
            return Ok(waiting);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_connection_that_nobody_accepted_is_counted_in_its_listeners_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let _client = TcpStream::connect(local).unwrap();
        let here = enter_netns::of(std::process::id() as i32).unwrap();
        let diag = Diag::open().unwrap();
        let found = diag.tcp(&[TcpState::Listen]).unwrap().into_iter().find(|socket| socket.local == local).unwrap();
        assert_eq!(found.receive_queue, 1);
        // Entering a namespace, even one's own, takes privilege.
        match accept_queue_lengths(&here) {
            Ok(queues) => assert_eq!(queues.iter().find(|queue| queue.local == local).unwrap().waiting, 1),
            Err(error) => println!("skipped: cannot enter a network namespace: {error}"),
        }
    }

    #[test]
    fn the_two_ends_of_a_unix_socket_name_each_other() {
        use std::os::fd::AsFd;
        let (left, right) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &left, b"12345").unwrap();
        let inode = |socket: &UnixStream| rustix::fs::fstat(socket.as_fd()).unwrap().st_ino as u32;
        let all = Diag::open().unwrap().unix().unwrap();
        let found = all.iter().find(|socket| socket.inode == inode(&right)).unwrap();
        assert_eq!((found.peer, found.receive_queue, found.listening), (inode(&left), 5, false));
    }
}
