//! Half-closed connections. A FIN takes a sequence number and moves the connection to another state, and repair mode knows neither:
//! ours is made by `shutdown`, the peer's by a segment that we send to ourselves, as the peer would have.

use std::os::fd::BorrowedFd;
use std::thread::sleep;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use serde::{Deserialize, Serialize};

use super::super::Obstacle;
use super::super::error::During;
use super::{Connection, info};
use crate::sys::raw_tcp::{RawTcp, Segment, flags};
use crate::sys::sock_diag::TcpState;
use crate::sys::sockaddr::on_wire;
use crate::sys::tcp_repair::{self, Queue};

/// A segment over `lo` has nearly always been received when the call that sends it returns.
const ARRIVAL_LOOKS: u32 = 200;
const ARRIVAL_PAUSE: Duration = Duration::from_micros(100);

/// How far our own FIN got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnFin {
    NotSent,
    /// Written behind unsent bytes.
    Waiting,
    Sent,
    Acknowledged,
}

impl OwnFin {
    /// From the connection's state and how much of the send queue is unsent.
    pub(super) fn of(state: TcpState, unsent: u32) -> Self {
        match state {
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck if unsent > 0 => Self::Waiting,
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => Self::Sent,
            TcpState::FinWait2 => Self::Acknowledged,
            _ => Self::NotSent,
        }
    }

    /// The sequence numbers that it takes in the send queue.
    pub(super) fn in_queue(self) -> u32 {
        u32::from(matches!(self, Self::Waiting | Self::Sent))
    }

    /// The sequence numbers that it takes before the send queue.
    pub(super) fn behind(self) -> u32 {
        u32::from(self == Self::Acknowledged)
    }

    /// The sequence numbers that it takes among the unsent.
    pub(super) fn unsent(self) -> u32 {
        u32::from(self == Self::Waiting)
    }
}

/// The state that a connection with these FINs is in, one that still waits not counted.
fn expected(wanted: &Connection) -> TcpState {
    match (wanted.own_fin, wanted.peer_fin) {
        (OwnFin::NotSent | OwnFin::Waiting, false) => TcpState::Established,
        (OwnFin::NotSent | OwnFin::Waiting, true) => TcpState::CloseWait,
        (OwnFin::Sent, false) => TcpState::FinWait1,
        (OwnFin::Sent, true) => TcpState::LastAck,
        (OwnFin::Acknowledged, false) => TcpState::FinWait2,
        (OwnFin::Acknowledged, true) => TcpState::TimeWait,
    }
}

/// Takes a connection, built as if established, to its half-closed state.
///
/// The peer's FIN comes first, so that both FINs end in LAST_ACK. A connection that was CLOSING instead differs only in that it
/// would have waited in TIME_WAIT after its end.
pub(super) fn restore(fd: BorrowedFd<'_>, wanted: &Connection, raw: &RawTcp) -> Result<(), Obstacle> {
    let received = wanted.receive.seq.wrapping_add(wanted.receive.unread.len() as u32);
    if wanted.peer_fin {
        raw.send(&from_peer(wanted, received, wanted.send.seq, flags::FIN | flags::ACK))
            .during("sending the peer's FIN to ourselves")?;
        wait_for(fd, TcpState::CloseWait)?;
    }
    if matches!(wanted.own_fin, OwnFin::Sent | OwnFin::Acknowledged) {
        // With the send queue selected the FIN counts as sent, as bytes do.
        tcp_repair::select_queue(fd, Queue::Send).during("selecting the send queue")?;
        shutdown(fd, Shutdown::Write).during("shutting down")?;
        tcp_repair::select_queue(fd, Queue::None).during("selecting no queue")?;
    }
    if wanted.own_fin == OwnFin::Acknowledged {
        let behind_fin = wanted.send.seq.wrapping_add(1);
        raw.send(&from_peer(wanted, received, behind_fin, flags::ACK)).during("sending the peer's ACK to ourselves")?;
    }
    wait_for(fd, expected(wanted))
}

/// A segment as the peer would send it. Without timestamps: they would have to be newer than the peer's last, which nobody knows.
pub(super) fn from_peer(wanted: &Connection, seq: u32, ack: u32, flags: u8) -> Segment<'static> {
    let shift = wanted.scales.map_or(0, |(send, _)| send);
    Segment {
        source: on_wire(wanted.peer),
        destination: on_wire(wanted.local),
        seq,
        ack,
        flags,
        window: u16::try_from(wanted.snd_wnd >> shift).unwrap_or(u16::MAX),
        timestamps: None,
        payload: &[],
    }
}

pub(super) fn wait_for(fd: BorrowedFd<'_>, wanted: TcpState) -> Result<(), Obstacle> {
    let mut found = info(fd)?.0;
    for _ in 0..ARRIVAL_LOOKS {
        if found == wanted {
            return Ok(());
        }
        sleep(ARRIVAL_PAUSE);
        found = info(fd)?.0;
    }
    Err(Obstacle::Unsupported(format!("the replica's connection is {found:?} instead of {wanted:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fin_is_sent_only_when_nothing_before_it_waits() {
        assert_eq!(OwnFin::of(TcpState::FinWait1, 10), OwnFin::Waiting);
        assert_eq!(OwnFin::of(TcpState::FinWait1, 0), OwnFin::Sent);
        assert_eq!(OwnFin::of(TcpState::FinWait2, 0), OwnFin::Acknowledged);
        assert_eq!(OwnFin::of(TcpState::CloseWait, 10), OwnFin::NotSent);
    }
}
