//! Unix sockets: the bytes and datagrams queued.
//!
//! They wait in the receiver's queue. In the replica they are sent again from the peer, which is the only way into that queue, so what a
//! peer left behind when it closed cannot be moved; the reader takes it soon enough, and capturing again then works.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use serde::{Deserialize, Serialize};

use super::error::During;
use super::fdinfo::FdInfo;
use super::options::{self, Buffers, Family, SocketOptions};
use super::{Bytes, Obstacle, Task};
use crate::sys::sock_diag::{Diag, UnixSocket as Diagnosed};
use crate::sys::sockopt;

const RCV_SHUTDOWN: u8 = 1;
const SEND_SHUTDOWN: u8 = 2;
const SHUTDOWN_BOTH: u8 = RCV_SHUTDOWN | SEND_SHUTDOWN;
/// Above what `net.core.wmem_max` lets a program send as one datagram on common systems; longer ones are noticed.
const LARGEST_DATAGRAM: usize = 1 << 20;

/// A unix socket's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixSocket {
    pub listening: bool,
    /// The connected socket, an index into [`Snapshot::files`](super::Snapshot::files); `None` without one.
    pub peer: Option<u32>,
    /// `RCV_SHUTDOWN` (1) and `SEND_SHUTDOWN` (2).
    pub shutdown: u8,
    /// Unread datagrams; of a stream at most one piece.
    pub queue: Vec<Bytes>,
    pub options: SocketOptions,
}

/// Sets `SO_PEEK_OFF` to the start of the queue, and back to what it was when dropped.
///
/// With it each `MSG_PEEK` continues behind the one before.
#[derive(Debug)]
pub(super) struct PeekFromStart<'a> {
    fd: BorrowedFd<'a>,
    before: i32,
}

impl<'a> PeekFromStart<'a> {
    pub(super) fn of(fd: BorrowedFd<'a>) -> io::Result<Self> {
        let before = sockopt::get(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF)?;
        sockopt::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &0)?;
        Ok(Self { fd, before })
    }
}

impl Drop for PeekFromStart<'_> {
    fn drop(&mut self) {
        if let Err(error) = sockopt::set(self.fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &self.before) {
            tracing::error!(%error, offset = self.before, "SO_PEEK_OFF could not be set back");
        }
    }
}

/// Reads a socket without taking anything. `files` finds the container's sockets by inode, `all` every socket of its network.
///
/// # Errors
/// [`Obstacle::Passing`] for descriptors on their way, connections not accepted, data of a peer that is gone.
pub(super) fn capture(
    task: Task,
    fd: RawFd,
    held: BorrowedFd<'_>,
    inode: u64,
    files: &HashMap<u64, usize>,
    all: &HashMap<u64, Diagnosed>,
) -> Result<UnixSocket, Obstacle> {
    let Some(me) = all.get(&inode) else {
        return Err(Obstacle::Unsupported("a unix socket of another network namespace".into()));
    };
    let options = SocketOptions::capture(held, Family { kind: options::UNIX, v6: false })?;
    let mut socket = UnixSocket { listening: me.listening, peer: None, shutdown: me.shutdown, queue: Vec::new(), options };
    if me.listening {
        return match me.receive_queue {
            0 => Ok(socket),
            waiting => Err(Obstacle::Passing(format!("{waiting} unix connections wait to be accepted"))),
        };
    }
    if me.peer != 0 {
        let peer = files.get(&u64::from(me.peer)).copied();
        let Some(peer) = peer else {
            return Err(Obstacle::Unsupported("connected to a process outside of the container".into()));
        };
        socket.peer = Some(peer as u32);
    }
    let info = FdInfo::read(task.host_pid, fd).during("reading fdinfo")?;
    if info.field("scm_fds").is_some_and(|count| count != "0") {
        return Err(Obstacle::Passing("descriptors are on their way through a unix socket".into()));
    }
    socket.queue = if me.kind == libc::SOCK_STREAM { peek_stream(held)? } else { peek_datagrams(held, me.shutdown)? };
    if socket.queue.is_empty() {
        return Ok(socket);
    }
    let peer = all.get(&u64::from(me.peer));
    if socket.peer.is_none() {
        return Err(Obstacle::Passing("unread data from a unix socket that is closed or not connected".into()));
    }
    if peer.is_some_and(|peer| peer.shutdown & SEND_SHUTDOWN != 0) {
        return Err(Obstacle::Passing("unread data from a unix socket that is shut down".into()));
    }
    if peer.is_some_and(|peer| u64::from(peer.peer) != inode) {
        return Err(Obstacle::Passing("unread datagrams on a unix socket that is connected to another one".into()));
    }
    if socket.options.int(libc::SOL_SOCKET, libc::SO_PASSCRED) != 0 {
        return Err(Obstacle::Passing("unread data with credentials".into()));
    }
    Ok(socket)
}

fn peek_stream(held: BorrowedFd<'_>) -> Result<Vec<Bytes>, Obstacle> {
    let inside = sockopt::ioctl_int(held, libc::FIONREAD).during("counting unread bytes")? as usize;
    if inside == 0 {
        return Ok(Vec::new());
    }
    let _restored_at_the_end = PeekFromStart::of(held).during("setting SO_PEEK_OFF")?;
    let mut bytes = vec![0; inside];
    let mut filled = 0;
    while filled < inside {
        match recv(held, &mut bytes[filled..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => break,
            Ok((got, _)) => filled += got,
            Err(error) => return Err(error).during("reading unread bytes"),
        }
    }
    if filled < inside {
        return Err(Obstacle::Passing(format!("{inside} unread bytes, of which {filled} could be seen")));
    }
    Ok(vec![Bytes(bytes)])
}

fn peek_datagrams(held: BorrowedFd<'_>, shut: u8) -> Result<Vec<Bytes>, Obstacle> {
    let _restored_at_the_end = PeekFromStart::of(held).during("setting SO_PEEK_OFF")?;
    let mut queue = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let first = sockopt::ioctl_int(held, libc::FIONREAD).during("counting unread bytes")? as usize;
        buffer.resize(buffer.len().max(first).max(1 << 12), 0);
        match recv(held, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            // The end of a seqpacket connection reads as an empty packet, for ever.
            Ok((_, 0)) if shut & RCV_SHUTDOWN != 0 => return Ok(queue),
            Ok((_, length)) if length > buffer.len() => {
                if length > LARGEST_DATAGRAM {
                    return Err(Obstacle::Passing(format!("an unread datagram of {length} bytes")));
                }
                // Start again with room for it; a peek cannot be repeated in place.
                buffer.resize(length, 0);
                queue.clear();
                sockopt::set(held, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &0).during("setting SO_PEEK_OFF")?;
            }
            Ok((_, length)) => queue.push(Bytes(buffer[..length].to_vec())),
            Err(Errno::AGAIN) => return Ok(queue),
            // Not connected: seqpacket sockets cannot be read then.
            Err(Errno::NOTCONN) => return Ok(queue),
            Err(error) => return Err(error).during("reading unread datagrams"),
        }
    }
}

/// Empties the replica's queue and fills it from `peer`, our descriptor of the connected socket; returns the bytes and the
/// options that could not be set.
///
/// # Errors
/// A failing send, or state that does not fit.
pub(super) fn restore(
    held: BorrowedFd<'_>,
    peer: Option<BorrowedFd<'_>>,
    wanted: &UnixSocket,
    found: &Diagnosed,
) -> Result<(usize, Vec<String>), Obstacle> {
    if found.listening != wanted.listening {
        let (replica, source) = (listening(found.listening), listening(wanted.listening));
        return Err(Obstacle::Unsupported(format!("the replica's socket is {replica}, the source's {source}")));
    }
    let failed = wanted.options.restore(held);
    wanted.options.buffers.restore(held).during("setting buffer sizes")?;
    if wanted.listening {
        return Ok((0, failed));
    }
    discard_stale(held, found.kind)?;
    let mut bytes = 0;
    if let (Some(peer), false) = (peer, wanted.queue.is_empty()) {
        let size = wanted.queue.iter().map(|piece| piece.len() + (1 << 10)).sum::<usize>();
        let sender = Buffers::capture(peer)?;
        sender.make_room(peer, size, 0).during("making room to send")?;
        for piece in &wanted.queue {
            let sent = send(peer, piece, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).during("sending unread data again")?;
            if sent != piece.len() {
                return Err(Obstacle::Unsupported(format!("of {} unread bytes the replica took {sent}", piece.len())));
            }
            bytes += sent;
        }
        sender.restore(peer).during("setting buffer sizes")?;
    }
    Ok((bytes, failed))
}

/// Shuts the replica's socket down as the source's is: after all queues are filled.
///
/// # Errors
/// A failing shutdown.
pub(super) fn restore_shutdown(held: BorrowedFd<'_>, wanted: &UnixSocket, found: &Diagnosed) -> Result<(), Obstacle> {
    let how = match wanted.shutdown & !found.shutdown {
        RCV_SHUTDOWN => Shutdown::Read,
        SEND_SHUTDOWN => Shutdown::Write,
        SHUTDOWN_BOTH => Shutdown::Both,
        _ => return Ok(()),
    };
    match shutdown(held, how) {
        Err(Errno::NOTCONN) => Ok(()),
        result => result.during("shutting down"),
    }
}

/// Replay injects what the program reads, so what it had written may still wait.
fn discard_stale(held: BorrowedFd<'_>, kind: i32) -> Result<(), Obstacle> {
    let mut buffer = vec![0; 1 << 16];
    // No bytes mean the end of a stream; of packets an empty one, or the end, which comes again and again.
    let most_empties = if kind == libc::SOCK_STREAM { 0 } else { 1024 };
    let mut empties = 0;
    loop {
        match recv(held, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) if empties >= most_empties => return Ok(()),
            Ok((_, 0)) => empties += 1,
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::NOTCONN | Errno::INVAL | Errno::CONNRESET) => return Ok(()),
            Err(error) => return Err(error).during("emptying a queue"),
        }
    }
}

fn listening(yes: bool) -> &'static str {
    if yes { "listening" } else { "not listening" }
}

/// The unix sockets of a network namespace by inode.
pub(super) fn diagnose(diag: &Diag) -> io::Result<HashMap<u64, Diagnosed>> {
    Ok(diag.unix()?.into_iter().map(|socket| (u64::from(socket.inode), socket)).collect())
}
