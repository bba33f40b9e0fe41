//! The target's half: check that the replica has the same descriptors, fill them, and after the point of no return let go.

use std::collections::HashMap;
use std::os::fd::AsFd;

use super::descriptors::{Shared, TableError, Tables};
use super::tcp::Held;
use super::{
    Clocks, FileState, Kind, Obstacle, OpenFile, RestoreError, Snapshot, TargetTask, agreement, epoll, eventfd, file, inotify,
    pipe, tcp, timerfd, udp, unix,
};
use crate::inodes::Identity;
use crate::sys::enter_netns;
use crate::sys::raw_tcp::RawTcp;
use crate::sys::sock_diag::{self, Diag};
use crate::sys::tcp_repair;

/// What was put where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    pub connections: usize,
    pub listeners: usize,
    pub unread_bytes: usize,
    pub in_flight_bytes: usize,
    pub unsent_bytes: usize,
    pub pipe_bytes: usize,
    pub unix_bytes: usize,
    pub epoll_watches: usize,
    /// Positions and flags that replay should have brought to the same values and did not.
    pub positions_corrected: usize,
    pub flags_corrected: usize,
    /// Socket options that could not be set.
    pub warnings: Vec<String>,
}

/// What [`Restored::release`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseReport {
    pub connections: usize,
    /// Segments that were in flight and have been sent again.
    pub segments_again: usize,
    pub unsent_bytes: usize,
    /// What failed. The rest was done nevertheless.
    pub failures: Vec<String>,
}

/// A filled replica whose connections are still silent. Dropped without a release it leaves them in repair mode; closing
/// them then, by killing the replica, sends nothing.
#[derive(Debug)]
pub struct Restored {
    pub report: RestoreReport,
    /// The numbers of files that both sides hold open: here, and on the source.
    pub identities: Vec<(Identity, Identity)>,
    held: Vec<Held>,
    raw: Option<RawTcp>,
}

impl Restored {
    /// Lets the connections speak: after the network is unmuted and the address announced, before the tasks run.
    ///
    /// Comes after the point of no return and therefore goes on over failures. A second call does nothing.
    pub fn release(&mut self) -> ReleaseReport {
        let mut report = ReleaseReport { connections: self.held.len(), ..ReleaseReport::default() };
        let Some(raw) = &self.raw else { return report };
        for held in self.held.drain(..) {
            let spoken = held.release(raw);
            report.segments_again += spoken.segments_again;
            report.unsent_bytes += spoken.unsent_bytes;
            report.failures.extend(spoken.failed);
        }
        report
    }
}

/// Fills the kernel objects of the replica's `tasks` with the contents of `snapshot`.
///
/// All tasks must be in ptrace stops and stay there until the release; their network must be muted, its loopback interface up.
///
/// # Errors
/// Names the first descriptor that is not as in the source, or cannot be made so. The replica is then half filled: kill it.
pub fn restore(tasks: &[TargetTask], snapshot: &Snapshot) -> Result<Restored, RestoreError> {
    if snapshot.version != Snapshot::VERSION {
        return Err(RestoreError::Version { found: snapshot.version, known: Snapshot::VERSION });
    }
    let ordered = agreement::in_snapshot_order(tasks, snapshot)?;
    let Some(first) = ordered.first().copied() else {
        return Ok(Restored { report: RestoreReport::default(), identities: Vec::new(), held: Vec::new(), raw: None });
    };
    let tables = Tables::read(&ordered)?;
    let found = agreement::match_files(&tables, snapshot)?;
    let task_error = |step| move |source| RestoreError::Task { task: first.ns_tid, step, source };
    let mut identities = Vec::new();
    for (wanted, &mine) in snapshot.files.iter().zip(&found) {
        let Shared { held, kind, .. } = &tables.files[mine];
        let here = file::identity(held.as_fd(), kind).map_err(|obstacle| RestoreError::of(&tables, mine, obstacle))?;
        identities.extend(here.zip(wanted.identity));
    }
    let mut filling = Filling {
        snapshot,
        tables: &tables,
        found: &found,
        network: Network::look(&tables, first).map_err(task_error("looking at the network"))?,
        clocks: Clocks::of(first.host_pid).map_err(task_error("reading clocks"))?,
        pipes_done: vec![false; snapshot.pipes.len()],
        report: RestoreReport::default(),
        held: Vec::new(),
    };
    // Sockets' shutdowns come behind all queues, and epoll, which looks at everything, comes last.
    for (wanted, &mine) in snapshot.files.iter().zip(&found) {
        filling.fill(wanted, mine).map_err(|obstacle| RestoreError::of(&tables, mine, obstacle))?;
    }
    for (wanted, &mine) in snapshot.files.iter().zip(&found) {
        filling.shut_down(wanted, mine).map_err(|obstacle| RestoreError::of(&tables, mine, obstacle))?;
    }
    filling.watch()?;
    let Filling { report, held, network, .. } = filling;
    Ok(Restored { report, identities, held, raw: network.raw })
}

/// Takes the connections of `tasks` out of repair mode, where an agent that died between restore and release left them.
///
/// Returns how many were. Their unsent bytes are lost to the peer, so this is for a replica whose release was cut short, and for
/// a source whose capture was. Harmless on connections that are not in repair mode.
///
/// # Errors
/// The first task whose descriptors cannot be read.
pub fn leave_repair_mode(tasks: &[TargetTask]) -> Result<usize, RestoreError> {
    let tables = Tables::read(tasks)?;
    let mut left = 0;
    for shared in &tables.files {
        let tcp = matches!(shared.kind, Kind::Socket { protocol: libc::IPPROTO_TCP, .. });
        if tcp && tcp_repair::is_on(&shared.held).unwrap_or(false) && tcp_repair::off(&shared.held).is_ok() {
            left += 1;
        }
    }
    Ok(left)
}

/// What only the network namespace as a whole can tell or do.
#[derive(Default)]
struct Network {
    listeners: HashMap<u64, sock_diag::TcpSocket>,
    unix: HashMap<u64, sock_diag::UnixSocket>,
    raw: Option<RawTcp>,
}

impl Network {
    fn look(tables: &Tables, task: TargetTask) -> std::io::Result<Self> {
        if tables.sockets().is_empty() {
            return Ok(Self::default());
        }
        let namespace = enter_netns::of(task.host_pid)?;
        let diag = Diag::open_in(&namespace)?;
        Ok(Self { listeners: tcp::listeners(&diag)?, unix: unix::diagnose(&diag)?, raw: Some(RawTcp::open_in(&namespace)?) })
    }
}

/// The state of one restore.
struct Filling<'a> {
    snapshot: &'a Snapshot,
    tables: &'a Tables,
    found: &'a [usize],
    network: Network,
    clocks: Clocks,
    pipes_done: Vec<bool>,
    report: RestoreReport,
    held: Vec<Held>,
}

impl Filling<'_> {
    fn fill(&mut self, wanted: &OpenFile, mine: usize) -> Result<(), Obstacle> {
        let (snapshot, tables) = (self.snapshot, self.tables);
        let (task, fd) = tables.owner(mine);
        let Shared { held, object, .. } = &tables.files[mine];
        let held = held.as_fd();
        match &wanted.state {
            FileState::Nothing if wanted.kind == Kind::Inotify => inotify::empty(held)?,
            FileState::Nothing | FileState::Epoll(_) => {}
            FileState::Position(position) => {
                self.report.positions_corrected += usize::from(file::restore(held, &wanted.kind, *position)?);
            }
            FileState::PipeEnd(pipe) => {
                let missing = || Obstacle::Unsupported(format!("the snapshot has no pipe {pipe}"));
                let contents = snapshot.pipes.get(*pipe as usize).ok_or_else(missing)?;
                if !std::mem::replace(&mut self.pipes_done[*pipe as usize], true) {
                    self.report.pipe_bytes += pipe::restore(task, fd, held, contents)?;
                }
            }
            FileState::Tcp(socket) => self.fill_tcp(mine, socket)?,
            FileState::Udp(socket) => {
                let failed = udp::restore(held, socket)?;
                self.warn(mine, failed);
            }
            FileState::Unix(socket) => {
                let diagnosed = self.diagnosed(object.1)?;
                let peer = self.unix_peer(socket, diagnosed)?;
                let peer = peer.map(|peer| tables.files[peer].held.as_fd());
                let (bytes, failed) = unix::restore(held, peer, socket, &diagnosed)?;
                self.report.unix_bytes += bytes;
                self.warn(mine, failed);
            }
            FileState::EventFd(eventfd) => eventfd::restore(task, fd, held, *eventfd)?,
            FileState::TimerFd(timer) => timerfd::restore(held, timer, &self.clocks)?,
        }
        self.report.flags_corrected += usize::from(file::restore_flags(held, wanted.flags)?);
        Ok(())
    }

    fn fill_tcp(&mut self, mine: usize, socket: &tcp::TcpSocket) -> Result<(), Obstacle> {
        let Shared { kind, held, object, .. } = &self.tables.files[mine];
        let v6 = matches!(kind, Kind::Socket { domain: libc::AF_INET6, .. });
        let copy = held.try_clone().map_err(|source| Obstacle::Call { step: "duplicating a descriptor", source })?;
        let listener = self.network.listeners.get(&object.1);
        let raw = self.network.raw.as_ref().ok_or_else(|| Obstacle::Unsupported("no raw socket".into()))?;
        let (held, failed) = tcp::restore(copy, v6, socket, listener, raw)?;
        match &socket.state {
            tcp::TcpSocketState::Connected(connection) => {
                self.report.connections += 1;
                self.report.unread_bytes += connection.receive.unread.len();
                self.report.in_flight_bytes += connection.send.in_flight.len();
                self.report.unsent_bytes += connection.send.unsent.len();
            }
            tcp::TcpSocketState::Listening { .. } => self.report.listeners += 1,
            tcp::TcpSocketState::Fresh { .. } | tcp::TcpSocketState::Ended(_) => {}
        }
        self.held.extend(held);
        self.warn(mine, failed);
        Ok(())
    }

    fn shut_down(&self, wanted: &OpenFile, mine: usize) -> Result<(), Obstacle> {
        let FileState::Unix(socket) = &wanted.state else { return Ok(()) };
        let Shared { held, object, .. } = &self.tables.files[mine];
        unix::restore_shutdown(held.as_fd(), socket, &self.diagnosed(object.1)?)
    }

    /// Writes the epoll registrations anew.
    fn watch(&mut self) -> Result<(), RestoreError> {
        let mut work = Vec::new();
        for (index, file) in self.snapshot.files.iter().enumerate() {
            let OpenFile { state: FileState::Epoll(watches), .. } = file else { continue };
            if let Some(watch) = watches.iter().find(|watch| watch.file as usize >= self.found.len()) {
                return Err(RestoreError::Inconsistent(format!("an epoll set watches file {}", watch.file)));
            }
            self.report.epoll_watches += watches.len();
            work.push(epoll::Work { set: self.found[index], watches });
        }
        epoll::restore(self.tables, &work, self.found)
            .map_err(|epoll::Failed { set, obstacle }| RestoreError::of(self.tables, set, obstacle))
    }

    fn diagnosed(&self, inode: u64) -> Result<sock_diag::UnixSocket, Obstacle> {
        let found = self.network.unix.get(&inode).copied();
        found.ok_or_else(|| Obstacle::Unsupported("a unix socket of another network namespace".into()))
    }

    /// The replica's peer of a unix socket, after a check that it is the counterpart of the source's.
    fn unix_peer(&self, wanted: &unix::UnixSocket, diagnosed: sock_diag::UnixSocket) -> Result<Option<usize>, Obstacle> {
        let peer = wanted.peer.and_then(|peer| self.found.get(peer as usize)).copied();
        let inode = peer.map_or(0, |peer| self.tables.files[peer].object.1);
        if inode == u64::from(diagnosed.peer) {
            return Ok(peer);
        }
        let (replica, source) = (whom(diagnosed.peer != 0), whom(peer.is_some()));
        Err(Obstacle::Unsupported(format!("the replica's socket is connected to {replica}, the source's to {source}")))
    }

    fn warn(&mut self, file: usize, failed: Vec<String>) {
        let (task, fd) = self.tables.owner(file);
        self.report.warnings.extend(failed.into_iter().map(|what| format!("task {}, descriptor {fd}: {what}", task.ns_tid)));
    }
}

fn whom(somebody: bool) -> &'static str {
    if somebody { "another socket" } else { "nothing" }
}

impl RestoreError {
    fn of(tables: &Tables, file: usize, obstacle: Obstacle) -> Self {
        let (task, fd) = tables.owner(file);
        let (task, kind) = (task.ns_tid, tables.files[file].kind.clone());
        match obstacle {
            Obstacle::Passing(what) | Obstacle::Unsupported(what) => Self::Unsupported { task, fd, kind, what },
            Obstacle::Call { step, source } => Self::Object { task, fd, kind, step, source },
        }
    }
}

impl From<TableError> for RestoreError {
    fn from(TableError { task, step, source }: TableError) -> Self {
        Self::Task { task, step, source }
    }
}
