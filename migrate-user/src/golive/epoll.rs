//! epoll: which events are watched for, and what is ready.
//!
//! Replay makes the same registrations. What it cannot do is what depends on the objects' state: a one-shot registration that fired
//! is disarmed, and what became ready while the stand-ins were being filled was never seen. So each registration is written
//! again, which makes the kernel look at the object anew. That may tell an edge-triggered program once more about something
//! that it knows; the interface allows this, and losing an edge would be worse.
//!
//! A registration is known by its number *and* its open file, so writing it takes a descriptor with that number: this is
//! done on a thread with a descriptor table of its own, where every number is free.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use serde::{Deserialize, Serialize};

use super::descriptors::{Shared, Tables};
use super::error::During;
use super::fdinfo::{FdInfo, unexpected};
use super::{Kind, Obstacle};
use crate::sys::kcmp;

const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// What survives of a one-shot registration that fired: see `EP_PRIVATE_BITS` in fs/eventpoll.c.
const PRIVATE: u32 = EPOLLEXCLUSIVE | (libc::EPOLLWAKEUP | libc::EPOLLONESHOT) as u32 | EPOLLET;
const EPOLLET: u32 = 1 << 31;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;

/// One registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The number that it was made with.
    pub fd: i32,
    /// The open file, an index into [`Snapshot::files`](super::Snapshot::files).
    pub file: u32,
    /// The mask as the kernel keeps it, flags included; a disarmed one-shot has flags only.
    pub events: u32,
    pub data: u64,
}

impl Watch {
    fn disarmed(&self) -> bool {
        self.events & ONESHOT != 0 && self.events & !PRIVATE == 0
    }
}

/// One line of fdinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Registration {
    fd: RawFd,
    events: u32,
    data: u64,
    inode: u64,
}

fn parse(line: &str) -> Option<Registration> {
    let mut words = line.split_whitespace();
    let fd = words.next()?.parse().ok()?;
    let mut events = None;
    let mut data = None;
    let mut inode = None;
    // A value is separated from its name by a space or not, as the kernel pads it.
    while let Some(word) = words.next() {
        let (name, value) = word.split_once(':')?;
        let value = if value.is_empty() { words.next()? } else { value };
        match name {
            "events" => events = Some(u32::from_str_radix(value, 16).ok()?),
            "data" => data = Some(u64::from_str_radix(value, 16).ok()?),
            "ino" => inode = Some(u64::from_str_radix(value, 16).ok()?),
            _ => {}
        }
    }
    Some(Registration { fd, events: events?, data: data?, inode: inode? })
}

fn registrations(tables: &Tables, set: usize) -> Result<Vec<Registration>, Obstacle> {
    let (task, fd) = tables.owner(set);
    let info = FdInfo::read(task.host_pid, fd).during("reading fdinfo")?;
    let parsed = info.values("tfd").map(|line| parse(line).ok_or_else(|| unexpected("registration")));
    parsed.collect::<io::Result<_>>().during("reading fdinfo")
}

/// Reads the registrations of the epoll set `set`, an index into the tables' files.
///
/// # Errors
/// [`Obstacle::Unsupported`] for a watched file that no task of the container has open.
pub(super) fn capture(tables: &Tables, set: usize) -> Result<Vec<Watch>, Obstacle> {
    let watch = |found: Registration| {
        let file = watched_file(tables, set, found)? as u32;
        Ok(Watch { fd: found.fd, file, events: found.events, data: found.data })
    };
    registrations(tables, set)?.into_iter().map(watch).collect()
}

/// The file behind a registration: nearly always what a holder of the set has under that number.
fn watched_file(tables: &Tables, set: usize, found: Registration) -> Result<usize, Obstacle> {
    let (owner, epoll_fd) = tables.owner(set);
    let is_it = |file: usize| {
        let Shared { kind, object, .. } = &tables.files[file];
        if matches!(kind, Kind::Socket { .. }) {
            // A socket's inode has one open file, and asking the kernel takes the longer the larger the set is.
            return Ok(object.1 == found.inode);
        }
        let (task, fd) = tables.owner(file);
        kcmp::epoll_watches(task.host_pid, fd, owner.host_pid, epoll_fd, found.fd).during("comparing open files")
    };
    let same_number = tables.files[set].holders.iter().filter_map(|(task, _)| tables.lookup(*task, found.fd));
    let mut tried = HashSet::new();
    for file in same_number.chain(0..tables.files.len()) {
        if tried.insert(file) && is_it(file)? {
            return Ok(file);
        }
    }
    Err(Obstacle::Unsupported(format!("it watches descriptor {}, whose file is open nowhere in the container", found.fd)))
}

/// One epoll set of the replica, and what its registrations have to become.
#[derive(Debug)]
pub(super) struct Work<'a> {
    /// Index of the set's file in the tables.
    pub(super) set: usize,
    pub(super) watches: &'a [Watch],
}

/// A registration that could not be written.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) set: usize,
    pub(super) obstacle: Obstacle,
}

/// Writes the registrations of all sets anew. `found` maps an index into the snapshot's files to one into `tables`.
pub(super) fn restore(tables: &Tables, work: &[Work<'_>], found: &[usize]) -> Result<(), Failed> {
    if work.is_empty() {
        return Ok(());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("epoll".into()).spawn_scoped(scope, || {
            // SAFETY: unshare has no memory arguments. From here on this thread's numbers are its own: what it closes or
            // replaces stays open in the rest of the program, and what it opens is gone when it ends.
            if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
                let obstacle = Obstacle::Call { step: "unsharing the descriptor table", source: io::Error::last_os_error() };
                return Err(Failed { set: work[0].set, obstacle });
            }
            work.iter().try_for_each(|one| restore_set(tables, one, found).map_err(|obstacle| Failed { set: one.set, obstacle }))
        });
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(source) => Err(Failed { set: work[0].set, obstacle: Obstacle::Call { step: "making a thread", source } }),
        }
    })
}

/// On the thread with its own table.
fn restore_set(tables: &Tables, work: &Work<'_>, found: &[usize]) -> Result<(), Obstacle> {
    // Every number that the set knows, its own included, must be free for it: keep what is needed above all of them.
    let highest = work.watches.iter().map(|watch| watch.fd).max().unwrap_or(0);
    let lift = |file: usize| duplicate_above(tables.files[file].held.as_raw_fd(), highest);
    let set = lift(work.set)?;
    let targets = work.watches.iter().map(|watch| lift(found[watch.file as usize])).collect::<Result<Vec<_>, _>>()?;
    drop_strangers(tables, work, set)?;
    for (watch, target) in work.watches.iter().zip(&targets) {
        place(*target, watch.fd)?;
        if watch.disarmed() {
            // Armed for whatever is ready, to be fired below.
            write_watch(set, watch, ONESHOT | (libc::EPOLLIN | libc::EPOLLOUT) as u32)?;
        } else {
            write_watch(set, watch, 0)?;
        }
    }
    if work.watches.iter().any(Watch::disarmed) {
        fire(set, work.watches.len());
    }
    for (watch, target) in work.watches.iter().zip(&targets) {
        if !watch.disarmed() {
            place(*target, watch.fd)?;
            write_watch(set, watch, watch.events)?;
        }
    }
    for fd in targets.into_iter().chain([set]) {
        // SAFETY: `fd` was made by `duplicate_above` in this thread's own table and is used no more.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Takes out what the replica watches and the source does not.
fn drop_strangers(tables: &Tables, work: &Work<'_>, set: RawFd) -> Result<(), Obstacle> {
    let wanted: HashSet<_> = work.watches.iter().map(|watch| watch.fd).collect();
    for found in registrations(tables, work.set)?.into_iter().filter(|found| !wanted.contains(&found.fd)) {
        let file = watched_file(tables, work.set, found)?;
        let target = duplicate_above(tables.files[file].held.as_raw_fd(), found.fd)?;
        place(target, found.fd)?;
        control(set, libc::EPOLL_CTL_DEL, found.fd, 0, 0).during("taking a registration out")?;
    }
    Ok(())
}

fn duplicate_above(fd: RawFd, highest: RawFd) -> Result<RawFd, Obstacle> {
    // SAFETY: fcntl(F_DUPFD_CLOEXEC) has no memory arguments.
    let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, highest + 1) };
    if duplicate < 0 { Err(io::Error::last_os_error()).during("duplicating a descriptor") } else { Ok(duplicate) }
}

fn place(fd: RawFd, number: RawFd) -> Result<(), Obstacle> {
    // SAFETY: dup3 has no memory arguments; what it replaces is a copy in this thread's own table, which nothing uses.
    let placed = unsafe { libc::dup3(fd, number, libc::O_CLOEXEC) };
    if placed < 0 { Err(io::Error::last_os_error()).during("placing a descriptor") } else { Ok(()) }
}

/// Writes one registration, adding it where replay has none.
fn write_watch(set: RawFd, watch: &Watch, events: u32) -> Result<(), Obstacle> {
    if watch.events & EPOLLEXCLUSIVE != 0 {
        // Such a registration cannot be changed, only made anew; nothing else is done with it before it gets its events.
        if events != watch.events {
            return Ok(());
        }
        match control(set, libc::EPOLL_CTL_DEL, watch.fd, 0, 0) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error).during("taking a registration out"),
            _ => return control(set, libc::EPOLL_CTL_ADD, watch.fd, events, watch.data).during("adding a registration"),
        }
    }
    match control(set, libc::EPOLL_CTL_MOD, watch.fd, events, watch.data) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            control(set, libc::EPOLL_CTL_ADD, watch.fd, events, watch.data).during("adding a registration")
        }
        result => result.during("writing a registration"),
    }
}

fn control(set: RawFd, operation: i32, fd: RawFd, events: u32, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the kernel reads one epoll_event from `event`.
    if unsafe { libc::epoll_ctl(set, operation, fd, &mut event) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets ready one-shot registrations fire, so that they are disarmed. One on an object that is ready for nothing stays armed for
/// errors and hang-ups, the nearest that the interface allows.
fn fire(set: RawFd, registrations: usize) {
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; registrations];
    // SAFETY: the kernel writes at most `events.len()` entries to `events`; a failure leaves registrations armed.
    unsafe { libc::epoll_wait(set, events.as_mut_ptr(), events.len() as i32, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_line_gives_number_mask_and_data() {
        let line = "       5 events: 8000201d data: ffffffff00000005  pos:0 ino:61af sdev:7";
        let found = Registration { fd: 5, events: 0x8000_201d, data: 0xffff_ffff_0000_0005, inode: 0x61af };
        assert_eq!(parse(line), Some(found));
        assert_eq!(parse("5 events: 1"), None);
    }

    #[test]
    fn only_a_one_shot_registration_without_events_is_disarmed() {
        let watch = |events| Watch { fd: 1, file: 0, events, data: 0 };
        assert!(watch(ONESHOT | EPOLLET).disarmed());
        assert!(!watch(ONESHOT | libc::EPOLLIN as u32).disarmed());
        // A registration for nothing still hears of errors and hang-ups.
        assert!(!watch(0x18).disarmed());
    }
}
