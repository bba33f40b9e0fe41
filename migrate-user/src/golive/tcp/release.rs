//! The moment that a moved connection speaks again.
//!
//! Bytes that were in flight may have been dropped on the way, and the new socket does not know its round-trip time: left alone
//! it would send them again after its initial time-out of seconds. So their first segments are sent by hand, as many as a new
//! connection may send, and the last one. When the peer acknowledges them, the socket has measured the path, sees what is missing, and
//! goes on by itself.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::super::Bytes;
use super::super::options::SocketOptions;
use super::connection::Connection;
use super::fin::OwnFin;
use crate::sys::raw_tcp::{RawTcp, Segment, flags};
use crate::sys::sockaddr::on_wire;
use crate::sys::{sockopt, tcp_repair};

/// The initial window of RFC 6928, in segments.
const INITIAL_WINDOW: usize = 10;
/// The timestamp option with its padding.
const TIMESTAMP_BYTES: usize = 12;

/// A rebuilt connection in repair mode, and what remains to be done.
#[derive(Debug)]
pub(in super::super) struct Held {
    fd: OwnedFd,
    options: SocketOptions,
    unsent: Bytes,
    then_fin: bool,
    again: Option<InFlight>,
}

/// What to send again by hand.
#[derive(Debug)]
struct InFlight {
    source: SocketAddr,
    destination: SocketAddr,
    /// Of the first byte.
    seq: u32,
    ack: u32,
    bytes: Bytes,
    /// Does our FIN follow the last byte?
    fin: bool,
    /// As on the wire.
    window: u16,
    /// The most bytes of a segment, before options.
    mss: usize,
    timestamps: bool,
}

/// What one release did.
#[derive(Debug, Default)]
pub(in super::super) struct Spoken {
    pub(in super::super) segments_again: usize,
    pub(in super::super) unsent_bytes: usize,
    pub(in super::super) failed: Vec<String>,
}

impl Held {
    pub(super) fn connection(fd: OwnedFd, wanted: &Connection, options: &SocketOptions) -> Self {
        let in_flight = !wanted.send.in_flight.is_empty() || wanted.own_fin == OwnFin::Sent;
        Self {
            fd,
            options: options.clone(),
            unsent: wanted.send.unsent.clone(),
            then_fin: wanted.own_fin == OwnFin::Waiting,
            again: in_flight.then(|| InFlight::of(wanted)),
        }
    }

    pub(super) fn ended(fd: OwnedFd, options: &SocketOptions) -> Self {
        Self { fd, options: options.clone(), unsent: Bytes::default(), then_fin: false, again: None }
    }

    /// Leaves repair mode and speaks. Whatever fails is told, and the rest is done.
    pub(in super::super) fn release(&self, raw: &RawTcp) -> Spoken {
        let mut spoken = Spoken::default();
        let mut note = |what: &str, result: io::Result<()>| {
            if let Err(error) = result {
                spoken.failed.push(format!("{what}: {error}"));
            }
        };
        // By hand first, so that the peer gets the bytes in order.
        if let Some(in_flight) = &self.again {
            match in_flight.send(&self.fd, raw) {
                Ok(segments) => spoken.segments_again = segments,
                Err(error) => note("sending bytes in flight again", Err(error)),
            }
        }
        // A connection with nothing to say sends a window probe: the first word from its new place.
        let silent = self.again.is_none() && self.unsent.is_empty();
        let off = if silent { tcp_repair::off(&self.fd) } else { tcp_repair::off_silently(&self.fd) };
        note("leaving repair mode", off);
        let reuse = self.options.int(libc::SOL_SOCKET, libc::SO_REUSEADDR);
        note("SO_REUSEADDR", sockopt::set(&self.fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &reuse));
        if !self.unsent.is_empty() {
            let sent = send_all(&self.fd, &self.unsent);
            if sent.is_ok() {
                spoken.unsent_bytes = self.unsent.len();
            }
            note("sending unsent bytes", sent);
        }
        if self.then_fin {
            note("shutting down", shutdown(&self.fd, Shutdown::Write).map_err(Into::into));
        }
        note("buffer sizes", self.options.buffers.restore(self.fd.as_fd()));
        spoken
    }
}

fn send_all(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent = send(fd, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    Ok(())
}

impl InFlight {
    fn of(wanted: &Connection) -> Self {
        let received = wanted.receive.seq.wrapping_add(wanted.receive.unread.len() as u32);
        let shift = wanted.scales.map_or(0, |(_, receive)| receive);
        Self {
            source: on_wire(wanted.local),
            destination: on_wire(wanted.peer),
            seq: wanted.send.seq,
            ack: received.wrapping_add(u32::from(wanted.peer_fin)),
            bytes: wanted.send.in_flight.clone(),
            fin: wanted.own_fin == OwnFin::Sent,
            window: u16::try_from(wanted.rcv_wnd >> shift).unwrap_or(u16::MAX),
            mss: wanted.mss as usize,
            timestamps: wanted.timestamp.is_some(),
        }
    }

    /// Sends the first segments and the last one; returns how many.
    fn send(&self, fd: &OwnedFd, raw: &RawTcp) -> io::Result<usize> {
        let timestamp = if self.timestamps { Some(tcp_repair::timestamp(fd)?) } else { None };
        let mut count = 0;
        for segment in self.segments(timestamp) {
            raw.send(&segment)?;
            count += 1;
        }
        Ok(count)
    }

    fn segments(&self, timestamp: Option<u32>) -> impl Iterator<Item = Segment<'_>> {
        let size = self.mss.saturating_sub(if timestamp.is_some() { TIMESTAMP_BYTES } else { 0 }).max(1);
        let pieces = self.bytes.len().div_ceil(size).max(1);
        let first = pieces.min(INITIAL_WINDOW);
        // Behind a gap the very last piece: the peer's selective acknowledgement of it shows the socket what is missing.
        let last = (first < pieces).then(|| pieces - 1);
        (0..first).chain(last).map(move |piece| {
            let start = piece * size;
            let is_last = piece + 1 == pieces;
            let fin = if is_last && self.fin { flags::FIN } else { 0 };
            Segment {
                source: self.source,
                destination: self.destination,
                seq: self.seq.wrapping_add(start as u32),
                ack: self.ack,
                flags: flags::ACK | if is_last { flags::PSH } else { 0 } | fin,
                window: self.window,
                // The peer's clock is not known here; zero echoes nothing.
                timestamps: timestamp.map(|value| (value, 0)),
                payload: &self.bytes[start..self.bytes.len().min(start + size)],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight(bytes: usize, fin: bool) -> InFlight {
        InFlight {
            source: "10.0.0.1:80".parse().unwrap(),
            destination: "10.0.0.2:4000".parse().unwrap(),
            seq: u32::MAX,
            ack: 5,
            bytes: Bytes(vec![0; bytes]),
            fin,
            window: 100,
            mss: 1012,
            timestamps: true,
        }
    }

    fn ranges(in_flight: &InFlight) -> Vec<(u32, usize, bool)> {
        let range =
            |segment: Segment<'_>| (segment.seq.wrapping_sub(u32::MAX), segment.payload.len(), segment.flags & flags::FIN != 0);
        in_flight.segments(Some(1)).map(range).collect()
    }

    #[test]
    fn a_short_flight_is_sent_whole_with_its_fin() {
        assert_eq!(ranges(&in_flight(1500, true)), [(0, 1000, false), (1000, 500, true)]);
        assert_eq!(ranges(&in_flight(0, true)), [(0, 0, true)]);
    }

    #[test]
    fn of_a_long_flight_the_initial_window_and_the_last_segment_are_sent() {
        let ranges = ranges(&in_flight(50_001, false));
        assert_eq!(ranges.len(), 11);
        assert_eq!((ranges[9], ranges[10]), ((9000, 1000, false), (50_000, 1, false)));
    }
}
