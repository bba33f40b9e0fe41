//! The source's half: everything is read, nothing is changed.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rustix::fs::OFlags;

use super::descriptors::{Shared, TableError, Tables};
use super::signals::pending_masks;
use super::{
    CaptureError, Clocks, Descriptor, FileState, Kind, Losses, Obstacle, OpenFile, Snapshot, SourceTask, TaskDescriptors, epoll,
    eventfd, file, pipe, tcp, timerfd, udp, unix,
};
use crate::sys::enter_netns;
use crate::sys::sock_diag::{self, Diag};
use crate::sys::sockopt;

/// Captures the kernel objects of `tasks`, which are all processes of one container.
///
/// The tasks must not run (frozen cgroup or ptrace stop) and their network must be muted: an object that changes meanwhile is noticed
/// where it can be. The source is left as it was, whatever is returned; its connections have neither sent nor received.
///
/// # Errors
/// [`CaptureError::Retry`] asks to let the source run for a moment; [`CaptureError::Unsupported`] names what cannot be moved.
pub fn capture(tasks: &[SourceTask]) -> Result<Snapshot, CaptureError> {
    let first = *tasks.first().ok_or(CaptureError::NoTasks)?;
    let tables = Tables::read(tasks)?;
    let task_error = |step| move |source| CaptureError::Task { task: first.ns_tid, step, source };
    let clocks = Clocks::of(first.host_pid).map_err(task_error("reading clocks"))?;
    let network = Network::look(&tables, first).map_err(task_error("asking about sockets"))?;
    let mut losses = Losses::default();

    let mut pipes = PipeTable::default();
    let mut files = Vec::with_capacity(tables.files.len());
    for (index, shared) in tables.files.iter().enumerate() {
        let fail = |obstacle| CaptureError::of(&tables, index, obstacle);
        let flags = file::flags(shared.held.as_fd()).map_err(fail)?;
        let state = match &shared.kind {
            Kind::Pipe => FileState::PipeEnd(pipes.index_of(&tables, index).map_err(fail)?),
            Kind::Epoll => FileState::Epoll(epoll::capture(&tables, index).map_err(fail)?),
            Kind::Regular | Kind::Directory | Kind::CharDevice | Kind::BlockDevice => {
                file::capture(shared.held.as_fd(), flags).map_err(fail)?.map_or(FileState::Nothing, FileState::Position)
            }
            _ => one(&tables, index, &network, &clocks, &mut losses).map_err(fail)?,
        };
        let identity = file::identity(shared.held.as_fd(), &shared.kind).map_err(fail)?;
        files.push(OpenFile { kind: shared.kind.clone(), flags: flags.bits() as i32, identity, state });
    }

    let mut described = Vec::with_capacity(tasks.len());
    for (task, list) in tasks.iter().zip(&tables.descriptors) {
        let fail = |source| CaptureError::Task { task: task.ns_tid, step: "reading pending signals", source };
        described.push(TaskDescriptors {
            ns_tid: task.ns_tid,
            descriptors: list.iter().map(|&(fd, file)| Descriptor { fd, file: file as u32 }).collect(),
            pending: pending_masks(task.host_pid).map_err(fail)?,
        });
    }
    Ok(Snapshot {
        version: Snapshot::VERSION,
        clocks,
        tasks: described,
        files,
        pipes: pipes.contents,
        signals: Vec::new(),
        neighbours: Vec::new(),
        losses,
    })
}

/// Captures an object that stands for itself.
fn one(tables: &Tables, index: usize, network: &Network, clocks: &Clocks, losses: &mut Losses) -> Result<FileState, Obstacle> {
    let (task, fd) = tables.owner(index);
    let Shared { kind, held, object, .. } = &tables.files[index];
    let held = held.as_fd();
    Ok(match kind {
        Kind::Socket { domain, kind, protocol } => match (*domain, *kind, *protocol) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP) => {
                let v6 = *domain == libc::AF_INET6;
                let (socket, waiting) = tcp::capture(held, v6, network.listeners.get(&object.1))?;
                losses.unaccepted_connections += waiting;
                FileState::Tcp(Box::new(socket))
            }
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP) => {
                let (socket, lost) = udp::capture(held, *domain == libc::AF_INET6)?;
                losses.datagrams += lost;
                FileState::Udp(socket)
            }
            (libc::AF_UNIX, ..) => FileState::Unix(unix::capture(task, fd, held, object.1, &network.files, &network.unix)?),
            (libc::AF_NETLINK, ..) | (libc::AF_INET | libc::AF_INET6, libc::SOCK_RAW | libc::SOCK_DGRAM, _) => {
                losses.datagrams += u32::from(sockopt::ioctl_int(held, libc::FIONREAD).unwrap_or(0) > 0);
                FileState::Nothing
            }
            _ => return Err(Obstacle::Unsupported("sockets of this kind are not known".into())),
        },
        Kind::EventFd => FileState::EventFd(eventfd::capture(task, fd)?),
        Kind::TimerFd => FileState::TimerFd(timerfd::capture(task, fd, held, clocks)?),
        Kind::Inotify => match sockopt::ioctl_int(held, libc::FIONREAD) {
            Ok(0) => FileState::Nothing,
            Ok(bytes) => return Err(Obstacle::Passing(format!("{bytes} bytes of file events are unread"))),
            Err(source) => return Err(Obstacle::Call { step: "counting file events", source }),
        },
        Kind::SignalFd | Kind::PidFd => FileState::Nothing,
        _ => return Err(Obstacle::Unsupported("files of this kind are not known".into())),
    })
}

/// What only the network namespace as a whole can tell.
#[derive(Default)]
struct Network {
    /// The container's own sockets, by inode.
    files: HashMap<u64, usize>,
    listeners: HashMap<u64, sock_diag::TcpSocket>,
    unix: HashMap<u64, sock_diag::UnixSocket>,
}

impl Network {
    fn look(tables: &Tables, task: SourceTask) -> std::io::Result<Self> {
        let files = tables.sockets();
        if files.is_empty() {
            return Ok(Self::default());
        }
        let diag = Diag::open_in(enter_netns::of(task.host_pid)?)?;
        Ok(Self { files, listeners: tcp::listeners(&diag)?, unix: unix::diagnose(&diag)? })
    }
}

/// The pipes met so far.
#[derive(Default)]
struct PipeTable {
    by_object: HashMap<(u64, u64), u32>,
    contents: Vec<pipe::PipeContents>,
}

impl PipeTable {
    /// The pipe behind a file, captured when first met.
    fn index_of(&mut self, tables: &Tables, file: usize) -> Result<u32, Obstacle> {
        let object = tables.files[file].object;
        if let Some(index) = self.by_object.get(&object) {
            return Ok(*index);
        }
        let (mut reader, mut packets) = (None, false);
        for end in tables.files.iter().filter(|end| end.object == object) {
            let flags = file::flags(end.held.as_fd())?;
            packets |= flags.contains(OFlags::DIRECT);
            if reader.is_none() && flags.intersection(OFlags::ACCMODE) != OFlags::WRONLY {
                reader = Some(end.held.as_fd());
            }
        }
        let contents = match reader {
            Some(reader) => pipe::capture(reader, packets)?,
            None => pipe::capture_unread(tables.files[file].held.as_fd())?,
        };
        let index = self.contents.len() as u32;
        self.contents.push(contents);
        self.by_object.insert(object, index);
        Ok(index)
    }
}

impl CaptureError {
    fn of(tables: &Tables, file: usize, obstacle: Obstacle) -> Self {
        let (task, fd) = tables.owner(file);
        let (task, kind) = (task.ns_tid, tables.files[file].kind.clone());
        match obstacle {
            Obstacle::Passing(what) => Self::Retry { why: format!("task {task}, descriptor {fd} ({kind}): {what}") },
            Obstacle::Unsupported(what) => Self::Unsupported { task, fd, kind, what },
            Obstacle::Call { step, source } => Self::Object { task, fd, kind, step, source },
        }
    }
}

impl From<TableError> for CaptureError {
    fn from(TableError { task, step, source }: TableError) -> Self {
        Self::Task { task, step, source }
    }
}
