//! Socket options. Replay may inject `setsockopt` without executing it, so the source's values are set here.

use std::io;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use super::Obstacle;
use super::error::During;
use crate::sys::sockopt::{self, Linger};

const SO_BUF_LOCK: i32 = 72;
const TCP_INQ: i32 = 36;
const TCP_NOTSENT_LOWAT: i32 = 25;
const IPV6_FREEBIND: i32 = 78;
const NAME_BYTES: usize = 16;

/// What a socket is, as far as its options go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// One of the bits below.
    pub(super) kind: u8,
    pub(super) v6: bool,
}

/// A TCP socket that does not listen.
pub(super) const STREAM: u8 = 1;
pub(super) const LISTENER: u8 = 2;
pub(super) const UDP: u8 = 4;
pub(super) const UNIX: u8 = 8;
const TCP: u8 = STREAM | LISTENER;
const INET: u8 = TCP | UDP;

impl Family {
    const fn has(self, level: i32, kinds: u8) -> bool {
        // A dual-stack socket has the IPv4 options too: they hold for IPv4-mapped peers.
        kinds & self.kind != 0 && (level != libc::IPPROTO_IPV6 || self.v6)
    }
}

/// Options whose value is an int, and which sockets have them, in the order in which they are set.
///
/// Not here: what the kernel decides by itself (`TCP_QUICKACK` swings with the traffic), what needs an unbound socket and is therefore
/// in place by replay (`IPV6_V6ONLY`), what only reads (`SO_ERROR`).
const INTS: [(i32, i32, u8); 38] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR, INET),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT, INET),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, TCP),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE, TCP),
    (libc::SOL_SOCKET, libc::SO_BROADCAST, UDP),
    (libc::SOL_SOCKET, libc::SO_MARK, INET),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT, TCP | UNIX),
    (libc::SOL_SOCKET, libc::SO_PASSCRED, UNIX),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMP, UDP | UNIX),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, UDP | UNIX),
    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, UDP),
    (libc::SOL_SOCKET, libc::SO_ZEROCOPY, STREAM | UDP),
    (libc::IPPROTO_IP, libc::IP_TOS, INET),
    (libc::IPPROTO_IP, libc::IP_TTL, INET),
    (libc::IPPROTO_IP, libc::IP_FREEBIND, INET),
    (libc::IPPROTO_IP, libc::IP_TRANSPARENT, LISTENER | UDP),
    (libc::IPPROTO_IP, libc::IP_RECVERR, UDP),
    (libc::IPPROTO_IP, libc::IP_PKTINFO, UDP),
    (libc::IPPROTO_IP, libc::IP_RECVTTL, UDP),
    (libc::IPPROTO_IP, libc::IP_RECVTOS, UDP),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, INET),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, INET),
    // Behind the type of service, which sets it too.
    (libc::SOL_SOCKET, libc::SO_PRIORITY, INET),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, INET),
    (libc::IPPROTO_IPV6, IPV6_FREEBIND, INET),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, UDP),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, INET),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, TCP),
    (libc::IPPROTO_TCP, libc::TCP_CORK, STREAM),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, TCP),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, TCP),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, TCP),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2, TCP),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, LISTENER),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, TCP),
    (libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT, TCP),
    (libc::IPPROTO_TCP, TCP_INQ, STREAM),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN, LISTENER),
];

/// Buffer sizes, and whether the program chose them or the kernel may tune them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffers {
    /// As getsockopt gives them: twice what setsockopt was given.
    pub send_bytes: i32,
    pub receive_bytes: i32,
    /// `SOCK_SNDBUF_LOCK` (1) and `SOCK_RCVBUF_LOCK` (2).
    pub locked: i32,
}

/// A socket's options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketOptions {
    pub buffers: Buffers,
    /// Level, name, value; options that this kernel does not have are absent.
    pub ints: Vec<(i32, i32, i32)>,
    /// Seconds to linger; `None` when off.
    pub linger: Option<i32>,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO` as seconds and microseconds; zeros mean none.
    pub timeouts: [(i64, i64); 2],
    /// `TCP_CONGESTION`; empty where there is none.
    pub congestion: String,
    /// `SO_BINDTODEVICE`; empty when not bound to an interface.
    pub interface: String,
}

impl SocketOptions {
    /// Reads a socket's options.
    ///
    /// # Errors
    /// A failing getsockopt, other than for options that the kernel lacks.
    pub(super) fn capture(fd: BorrowedFd<'_>, family: Family) -> Result<Self, Obstacle> {
        let mut ints = Vec::with_capacity(INTS.len());
        for (level, name, kinds) in INTS {
            if !family.has(level, kinds) {
                continue;
            }
            match sockopt::get(fd, level, name) {
                Ok(value) => ints.push((level, name, value)),
                Err(error) if absent(&error) => {}
                Err(error) => return Err(error).during("reading a socket option"),
            }
        }
        let linger: Linger = sockopt::get(fd, libc::SOL_SOCKET, libc::SO_LINGER).during("reading SO_LINGER")?;
        let tcp = family.kind & TCP != 0;
        Ok(Self {
            buffers: Buffers::capture(fd)?,
            ints,
            linger: (linger.on != 0).then_some(linger.seconds),
            timeouts: timeouts(fd)?,
            congestion: if tcp { name(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION)? } else { String::new() },
            interface: if family.kind == UNIX { String::new() } else { name(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE)? },
        })
    }

    /// Sets what differs. What could not be set is returned, in words: no connection is worth less for it.
    ///
    /// Buffers are not set: who fills the queues does that.
    #[must_use]
    pub(super) fn restore(&self, fd: BorrowedFd<'_>) -> Vec<String> {
        let mut failed = Vec::new();
        let mut note = |what: &dyn std::fmt::Display, result: io::Result<()>| {
            if let Err(error) = result {
                failed.push(format!("{what}: {error}"));
            }
        };
        for &(level, option, wanted) in &self.ints {
            let found = sockopt::get::<i32>(fd, level, option);
            if found.is_ok_and(|found| found == wanted) {
                continue;
            }
            note(&format_args!("option {level}/{option} = {wanted}"), sockopt::set(fd, level, option, &wanted));
        }
        let linger = Linger { on: i32::from(self.linger.is_some()), seconds: self.linger.unwrap_or(0) };
        if sockopt::get::<Linger>(fd, libc::SOL_SOCKET, libc::SO_LINGER).map(|found| found.on != 0).unwrap_or(true)
            || self.linger.is_some()
        {
            note(&"SO_LINGER", sockopt::set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger));
        }
        if timeouts(fd).is_ok_and(|found| found != self.timeouts) {
            for (option, (seconds, microseconds)) in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO].into_iter().zip(self.timeouts) {
                note(&"SO_RCVTIMEO or SO_SNDTIMEO", sockopt::set(fd, libc::SOL_SOCKET, option, &[seconds, microseconds]));
            }
        }
        if !self.congestion.is_empty()
            && name(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION).is_ok_and(|found| found != self.congestion)
        {
            let set = sockopt::set_bytes(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, self.congestion.as_bytes());
            note(&format_args!("TCP_CONGESTION {}", self.congestion), set);
        }
        if !self.interface.is_empty()
            && name(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE).is_ok_and(|found| found != self.interface)
        {
            let set = sockopt::set_bytes(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, self.interface.as_bytes());
            note(&format_args!("SO_BINDTODEVICE {}", self.interface), set);
        }
        failed
    }

    /// The captured value of an option; 0 if the kernel has none.
    #[must_use]
    pub(super) fn int(&self, level: i32, name: i32) -> i32 {
        self.ints.iter().find(|option| (option.0, option.1) == (level, name)).map_or(0, |option| option.2)
    }
}

impl Buffers {
    pub(super) fn capture(fd: BorrowedFd<'_>) -> Result<Self, Obstacle> {
        let option = |name| sockopt::get(fd, libc::SOL_SOCKET, name).during("reading buffer sizes");
        Ok(Self {
            send_bytes: option(libc::SO_SNDBUF)?,
            receive_bytes: option(libc::SO_RCVBUF)?,
            locked: match sockopt::get(fd, libc::SOL_SOCKET, SO_BUF_LOCK) {
                Ok(locked) => locked,
                Err(error) if absent(&error) => 0,
                Err(error) => return Err(error).during("reading buffer locks"),
            },
        })
    }

    /// Sets the sizes above any limit, and who may change them.
    pub(super) fn restore(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        force_size(fd, libc::SO_SNDBUFFORCE, self.send_bytes)?;
        force_size(fd, libc::SO_RCVBUFFORCE, self.receive_bytes)?;
        match sockopt::set(fd, libc::SOL_SOCKET, SO_BUF_LOCK, &self.locked) {
            Err(error) if absent(&error) => Ok(()),
            result => result,
        }
    }

    /// Makes room for queues of these sizes, for the time of filling.
    pub(super) fn make_room(&self, fd: BorrowedFd<'_>, send: usize, receive: usize) -> io::Result<()> {
        force_size(fd, libc::SO_SNDBUFFORCE, self.send_bytes.max(room_for(send)))?;
        force_size(fd, libc::SO_RCVBUFFORCE, self.receive_bytes.max(room_for(receive)))
    }
}

/// The kernel charges a buffer for its bookkeeping too: at most a page and some for each few bytes of a small segment. Four times
/// the bytes and a fixed part has been enough for queues made by [`super::tcp`] in large pieces.
fn room_for(bytes: usize) -> i32 {
    i32::try_from(bytes.saturating_mul(4).saturating_add(1 << 18)).unwrap_or(i32::MAX / 2)
}

/// The kernel doubles what it is given.
fn force_size(fd: BorrowedFd<'_>, option: i32, bytes: i32) -> io::Result<()> {
    sockopt::set(fd, libc::SOL_SOCKET, option, &(bytes / 2))
}

fn absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP | libc::EINVAL))
}

fn timeouts(fd: BorrowedFd<'_>) -> Result<[(i64, i64); 2], Obstacle> {
    let option = |name| -> Result<(i64, i64), Obstacle> {
        let [seconds, microseconds]: [i64; 2] = sockopt::get(fd, libc::SOL_SOCKET, name).during("reading timeouts")?;
        Ok((seconds, microseconds))
    };
    Ok([option(libc::SO_RCVTIMEO)?, option(libc::SO_SNDTIMEO)?])
}

/// An option whose value is a name of at most 15 characters.
pub(super) fn name(fd: BorrowedFd<'_>, level: i32, option: i32) -> Result<String, Obstacle> {
    match sockopt::get::<[u8; NAME_BYTES]>(fd, level, option) {
        Ok(bytes) => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
            Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
        }
        Err(error) if absent(&error) => Ok(String::new()),
        Err(error) => Err(error).during("reading a socket's name option"),
    }
}
