//! The contents of a container's kernel objects, as they travel.
//!
//! Everything is plain data for postcard: enums by number, nothing skipped, nothing untagged. A changed layout is a new
//! [`Snapshot::VERSION`].

use serde::{Deserialize, Serialize};

use super::epoll::Watch;
use super::eventfd::EventFd;
use super::pipe::PipeContents;
use super::signals::{PendingMasks, PendingSignals};
use super::tcp::TcpSocket;
use super::timerfd::TimerFd;
use super::udp::UdpSocket;
use super::unix::UnixSocket;
use super::{Clocks, Kind};
use crate::inodes::Identity;
use crate::sys::neighbours::Neighbour;

/// Everything that [`capture`](super::capture) found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`Snapshot::VERSION`].
    pub version: u16,
    /// When it was captured, by the container's clocks.
    pub clocks: Clocks,
    pub tasks: Vec<TaskDescriptors>,
    /// Each open file description once, however many descriptors lead to it.
    pub files: Vec<OpenFile>,
    /// Each pipe once, however many ends are open.
    pub pipes: Vec<PipeContents>,
    /// Signals queued and not delivered; filled in by the caller, who traces the tasks.
    pub signals: Vec<PendingSignals>,
    /// Who the source knows on its link, so that the replica need not ask before it speaks; filled in by the caller, who knows the
    /// interface ([`known`](crate::sys::neighbours::known), [`introduce`](crate::sys::neighbours::introduce)).
    pub neighbours: Vec<Neighbour>,
    /// What could not be taken along, and was expected not to be.
    pub losses: Losses,
}

impl Snapshot {
    /// The layout's version.
    pub const VERSION: u16 = 2;
}

/// One task's descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDescriptors {
    /// Its number in the container's pid namespace.
    pub ns_tid: i32,
    /// In ascending order.
    pub descriptors: Vec<Descriptor>,
    /// What /proc said about its pending signals.
    pub pending: PendingMasks,
}

/// One number in a descriptor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub fd: i32,
    /// Index into [`Snapshot::files`].
    pub file: u32,
}

/// One open file description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    pub kind: Kind,
    /// As `F_GETFL` gives them.
    pub flags: i32,
    /// The numbers of a file or directory of the container's own: its programs may know it by them.
    pub identity: Option<Identity>,
    pub state: FileState,
}

/// What has to be restored of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileState {
    /// Nothing: its contents are what replay made them, or the kernel's.
    Nothing,
    /// A file, directory or device with a position.
    Position(i64),
    /// Index into [`Snapshot::pipes`].
    PipeEnd(u32),
    Tcp(Box<TcpSocket>),
    Udp(UdpSocket),
    Unix(UnixSocket),
    EventFd(EventFd),
    TimerFd(TimerFd),
    Epoll(Vec<Watch>),
}

/// What stays behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Connections that nobody had accepted yet; their clients see a reset or a time-out.
    pub unaccepted_connections: u32,
    /// Closed connections with bytes or a FIN that the peer had not acknowledged. Filled in by the caller, who waited for them
    /// before the freeze ([`wait_orphans_drained`](crate::sys::sock_diag::wait_orphans_drained)): counting takes milliseconds.
    pub undrained_connections: u32,
    /// Datagrams in UDP and netlink sockets' queues.
    pub datagrams: u32,
}
