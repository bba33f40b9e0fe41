//! The descriptor tables of all tasks, and which descriptors lead to the same open file.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::fs::FileType;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::Task;
use crate::sys::pidfd::PidFd;
use crate::sys::{kcmp, sockopt};

/// What an open file is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    Regular,
    Directory,
    CharDevice,
    BlockDevice,
    /// A pipe's end or a FIFO.
    Pipe,
    /// A socket, by the numbers that socket(2) takes.
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
    },
    EventFd,
    TimerFd,
    SignalFd,
    Inotify,
    Epoll,
    PidFd,
    /// Anything else, by the name that /proc shows.
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regular => f.write_str("regular file"),
            Self::Directory => f.write_str("directory"),
            Self::CharDevice => f.write_str("character device"),
            Self::BlockDevice => f.write_str("block device"),
            Self::Pipe => f.write_str("pipe"),
            Self::Socket { domain, kind, protocol } => match (*domain, *kind, *protocol) {
                (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP) => f.write_str("TCP socket"),
                (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP) => f.write_str("TCP socket over IPv6"),
                (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP) => f.write_str("UDP socket"),
                (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP) => f.write_str("UDP socket over IPv6"),
                (libc::AF_UNIX, libc::SOCK_STREAM, _) => f.write_str("unix stream socket"),
                (libc::AF_UNIX, libc::SOCK_DGRAM, _) => f.write_str("unix datagram socket"),
                (libc::AF_UNIX, libc::SOCK_SEQPACKET, _) => f.write_str("unix seqpacket socket"),
                (libc::AF_NETLINK, _, protocol) => write!(f, "netlink socket of protocol {protocol}"),
                (domain, kind, protocol) => write!(f, "socket({domain}, {kind}, {protocol})"),
            },
            Self::EventFd => f.write_str("eventfd"),
            Self::TimerFd => f.write_str("timerfd"),
            Self::SignalFd => f.write_str("signalfd"),
            Self::Inotify => f.write_str("inotify"),
            Self::Epoll => f.write_str("epoll"),
            Self::PidFd => f.write_str("pidfd"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// One open file description, held by a descriptor of ours.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kind: Kind,
    /// Ours.
    pub(super) held: OwnedFd,
    /// What several open files may share, as device and inode: of pipes and, with device 0, of sockets. Zeros otherwise.
    pub(super) object: (u64, u64),
    /// Who has it under which number: the task's index and its descriptor. Never empty.
    pub(super) holders: Vec<(usize, RawFd)>,
}

/// All descriptors of all tasks.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) tasks: Vec<Task>,
    /// For each task its descriptors in ascending order, each with its file's index.
    pub(super) descriptors: Vec<Vec<(RawFd, usize)>>,
    pub(super) files: Vec<Shared>,
}

/// A task's table could not be read.
#[derive(Debug)]
pub(super) struct TableError {
    pub(super) task: i32,
    pub(super) step: &'static str,
    pub(super) source: io::Error,
}

impl Tables {
    /// Reads the tables of `tasks`, which must not run meanwhile, and takes a descriptor of every open file.
    pub(super) fn read(tasks: &[Task]) -> Result<Self, TableError> {
        raise_descriptor_limit();
        let mut tables = Self { tasks: tasks.to_vec(), descriptors: Vec::with_capacity(tasks.len()), files: Vec::new() };
        // Two descriptors of one open file show the same link, so only those need comparing.
        let mut by_link: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, task) in tasks.iter().enumerate() {
            let fail = |step| move |source: io::Error| TableError { task: task.ns_tid, step, source };
            let process = PidFd::open(task.host_pid).map_err(fail("opening a pidfd"))?;
            let mut list = Vec::new();
            for (fd, link) in links(task.host_pid).map_err(fail("listing descriptors"))? {
                let mut found = None;
                for &file in by_link.get(&link).into_iter().flatten() {
                    let Shared { kind, holders, .. } = &tables.files[file];
                    let (holder, their_fd) = holders[0];
                    // A socket's inode has one open file only: /proc cannot open it a second time.
                    if matches!(kind, Kind::Socket { .. })
                        || kcmp::same_file(task.host_pid, fd, tasks[holder].host_pid, their_fd)
                            .map_err(fail("comparing open files"))?
                    {
                        found = Some(file);
                        break;
                    }
                }
                let file = match found {
                    Some(file) => file,
                    None => {
                        let held = process.get(fd).map_err(fail("taking a descriptor over"))?;
                        let (kind, object) = classify(&link, &held).map_err(fail("classifying a descriptor"))?;
                        by_link.entry(link).or_default().push(tables.files.len());
                        tables.files.push(Shared { kind, held, object, holders: Vec::with_capacity(1) });
                        tables.files.len() - 1
                    }
                };
                tables.files[file].holders.push((index, fd));
                list.push((fd, file));
            }
            list.sort_unstable();
            tables.descriptors.push(list);
        }
        Ok(tables)
    }

    /// The first holder of a file: its task, and the number there.
    pub(super) fn owner(&self, file: usize) -> (Task, RawFd) {
        let (task, fd) = self.files[file].holders[0];
        (self.tasks[task], fd)
    }

    /// The file that a task has under a number.
    pub(super) fn lookup(&self, task: usize, fd: RawFd) -> Option<usize> {
        let list = &self.descriptors[task];
        list.binary_search_by_key(&fd, |(fd, _)| *fd).ok().map(|at| list[at].1)
    }

    /// The sockets' files by inode.
    pub(super) fn sockets(&self) -> HashMap<u64, usize> {
        let sockets = self.files.iter().enumerate().filter(|(_, file)| matches!(file.kind, Kind::Socket { .. }));
        sockets.map(|(index, file)| (file.object.1, index)).collect()
    }
}

/// Every file of the container is held at once, so the soft limit goes as far as it may. Failing is noticed when it matters.
fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// A process's descriptors and what /proc says they lead to.
fn links(host_pid: i32) -> io::Result<Vec<(RawFd, String)>> {
    let path = format!("/proc/{host_pid}/fd");
    let directory = fs::File::open(&path)?;
    let mut links = Vec::new();
    let mut buffer = Vec::new();
    for entry in fs::read_dir(&path)? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let link = rustix::fs::readlinkat(&directory, name.as_os_str(), buffer)?;
        links.push((fd, link.to_string_lossy().into_owned()));
        buffer = link.into_bytes();
    }
    Ok(links)
}

/// What a file is, and of sockets and pipes the object behind it.
fn classify(link: &str, held: &OwnedFd) -> io::Result<(Kind, (u64, u64))> {
    if let Some(name) = link.strip_prefix("anon_inode:") {
        let kind = match name {
            "[eventfd]" => Kind::EventFd,
            "[timerfd]" => Kind::TimerFd,
            "[signalfd]" => Kind::SignalFd,
            "inotify" => Kind::Inotify,
            "[eventpoll]" => Kind::Epoll,
            "[pidfd]" => Kind::PidFd,
            _ => Kind::Other(name.trim_matches(['[', ']']).to_owned()),
        };
        return Ok((kind, (0, 0)));
    }
    if let Some(inode) = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok()) {
        let option = |name| sockopt::get(held.as_fd(), libc::SOL_SOCKET, name);
        let kind =
            Kind::Socket { domain: option(libc::SO_DOMAIN)?, kind: option(libc::SO_TYPE)?, protocol: option(libc::SO_PROTOCOL)? };
        return Ok((kind, (0, inode)));
    }
    let stat = rustix::fs::fstat(held)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => (Kind::Regular, (0, 0)),
        FileType::Directory => (Kind::Directory, (0, 0)),
        FileType::CharacterDevice => (Kind::CharDevice, (0, 0)),
        FileType::BlockDevice => (Kind::BlockDevice, (0, 0)),
        FileType::Fifo => (Kind::Pipe, (stat.st_dev, stat.st_ino)),
        _ => (Kind::Other(link.to_owned()), (0, 0)),
    })
}
