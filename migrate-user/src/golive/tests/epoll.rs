use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::pipe::{PipeFlags, pipe_with};

use super::holder::Holder;
use super::stage::{SERVER_V4, Stage};
use super::{privileged, task, until};
use crate::golive::{self, FileState, RestoreReport};
use crate::sys::tcp_repair;

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const ET: u32 = libc::EPOLLET as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// A process's table in the making: an epoll set, and files under the numbers that they are registered with.
///
/// The numbers are this program's own while registering, and must be free in it, as they are in a container.
struct Program {
    set: OwnedFd,
    files: Vec<(File, RawFd)>,
}

impl Program {
    fn new() -> Self {
        // SAFETY: epoll_create1 has no memory arguments, and the descriptor belongs to nobody else.
        Self { set: unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }, files: Vec::new() }
    }

    /// Registers a file under `number`, on a thread with a table of its own.
    fn add(&mut self, file: impl Into<OwnedFd>, number: RawFd, events: u32) {
        let file = File::from(file.into());
        let (set, fd) = (self.set.as_raw_fd(), file.as_raw_fd());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut event = libc::epoll_event { events, u64: number as u64 * 1000 };
                // SAFETY: the thread's table is its own; the kernel reads one epoll_event.
                unsafe {
                    assert_eq!(libc::unshare(libc::CLONE_FILES), 0);
                    let kept = libc::fcntl(set, libc::F_DUPFD, 3000);
                    assert_eq!(libc::dup2(fd, number), number);
                    assert_eq!(libc::epoll_ctl(kept, libc::EPOLL_CTL_ADD, number, &mut event), 0);
                }
            });
        });
        self.files.push((file, number));
    }

    fn holder(&self, ns: Option<&File>) -> Holder {
        let mut list: Vec<(&dyn AsRawFd, RawFd)> =
            self.files.iter().map(|(file, number)| (file as &dyn AsRawFd, *number)).collect();
        list.push((&self.set, 4));
        Holder::new(ns, &list)
    }

    /// What is ready: the number and the events, in ascending order.
    fn wait(&self) -> Vec<(u64, u32)> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        // SAFETY: the kernel writes at most 16 entries.
        let got = unsafe { libc::epoll_wait(self.set.as_raw_fd(), events.as_mut_ptr(), 16, 0) };
        let mut ready: Vec<_> = events[..got as usize].iter().map(|event| (event.u64 / 1000, event.events)).collect();
        ready.sort_unstable();
        ready
    }

    fn file(&mut self, number: RawFd) -> &mut File {
        &mut self.files.iter_mut().find(|(_, found)| *found == number).unwrap().0
    }
}

fn moved(source: &Program, target: &Program) -> RestoreReport {
    let (from, to) = (source.holder(None), target.holder(None));
    let snapshot = super::capture(&[&from]);
    golive::restore(&[task(&to)], &snapshot).unwrap().report
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
}

#[test]
fn what_was_ready_in_the_source_is_ready_in_the_replica_level_and_edge() {
    if !privileged("what_was_ready_in_the_source") {
        return;
    }
    for flags in [0, ET, ONESHOT, ET | ONESHOT, EXCLUSIVE] {
        let [mut source, mut target] = [(); 2].map(|()| {
            let mut program = Program::new();
            let ((full, full_writer), (empty, empty_writer)) = (pipe(), pipe());
            program.add(full, 20, IN | flags);
            program.add(empty, 21, IN | flags);
            program.files.push((full_writer.into(), 30));
            program.files.push((empty_writer.into(), 31));
            program
        });
        source.file(30).write_all(b"ready").unwrap();
        assert_eq!(moved(&source, &target).epoll_watches, 2);
        assert_eq!(target.wait(), [(20, IN)], "flags {flags:x}");
        // And it goes on: level repeats, edge and one-shot do not; new data is a new edge.
        let again: &[(u64, u32)] = if flags & (ET | ONESHOT) == 0 { &[(20, IN)] } else { &[] };
        assert_eq!(target.wait(), again, "flags {flags:x}");
        target.file(31).write_all(b"later").unwrap();
        assert!(target.wait().contains(&(21, IN)), "flags {flags:x}");
        let mut bytes = [0; 5];
        target.file(20).read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ready");
    }
}

#[test]
fn a_one_shot_registration_that_fired_stays_silent() {
    if !privileged("a_one_shot_registration_that_fired") {
        return;
    }
    let [mut source, mut target] = [(); 2].map(|()| {
        let mut program = Program::new();
        let (reader, writer) = pipe();
        program.add(reader, 20, IN | ONESHOT);
        program.files.push((writer.into(), 30));
        program
    });
    source.file(30).write_all(b"x").unwrap();
    assert_eq!(source.wait(), [(20, IN)]);
    moved(&source, &target);
    assert_eq!(target.wait(), []);
    target.file(30).write_all(b"more").unwrap();
    assert_eq!(target.wait(), []);
}

#[test]
fn registrations_that_only_one_side_has_are_made_or_taken_out() {
    if !privileged("registrations_that_only_one_side_has") {
        return;
    }
    let [mut source, mut target] = [(); 2].map(|()| {
        let mut program = Program::new();
        let (reader, writer) = pipe();
        program.files.push((reader.into(), 20));
        program.files.push((writer.into(), 30));
        program
    });
    let again = |program: &mut Program, at: usize| {
        let (file, number) = program.files.remove(at);
        (file, number)
    };
    let (reader, number) = again(&mut source, 0);
    source.add(reader, number, IN);
    let (writer, number) = again(&mut target, 1);
    target.add(writer, number, OUT);
    source.file(30).write_all(b"x").unwrap();
    moved(&source, &target);
    assert_eq!(target.wait(), [(20, IN)]);
}

#[test]
fn a_watched_file_is_found_when_its_number_now_means_another_one() {
    if !privileged("a_watched_file_is_found") {
        return;
    }
    let [mut source, target] = [(); 2].map(|()| {
        let mut program = Program::new();
        let ((reader, writer), (other, other_writer)) = (pipe(), pipe());
        // Registered as 20, then known as 25 only; 20 is somebody else.
        program.add(reader, 20, IN);
        program.files[0].1 = 25;
        program.files.push((other.into(), 20));
        program.files.push((writer.into(), 30));
        program.files.push((other_writer.into(), 31));
        program
    });
    source.file(30).write_all(b"x").unwrap();
    moved(&source, &target);
    assert_eq!(target.wait(), [(20, IN)], "by the number that it was registered with");
}

#[test]
fn a_connection_in_an_epoll_set_is_ready_as_soon_as_it_has_moved() {
    if !privileged("a_connection_in_an_epoll_set") {
        return;
    }
    let stage = Stage::new();
    let listener = stage.listen(&stage.source, &format!("{SERVER_V4}:80"));
    let (talking, server) = stage.connect(&listener, SERVER_V4);
    let (silent, other) = stage.connect(&listener, SERVER_V4);
    let (mut source, mut target) = (Program::new(), Program::new());
    source.add(server, 20, IN | ET);
    source.add(other, 21, IN | ET);
    target.add(stage.stand_in(false), 20, IN | ET);
    target.add(stage.stand_in(false), 21, IN | ET);
    (&talking).write_all(b"question").unwrap();
    until(|| tcp_repair::unread(source.file(20)).unwrap() == 8);
    stage.mute("source");
    let (from, to) = (source.holder(Some(&stage.source)), target.holder(Some(&stage.target)));
    let snapshot = super::capture(&[&from]);
    assert!(snapshot.files.iter().any(|file| matches!(&file.state, FileState::Epoll(watches) if watches.len() == 2)));
    let mut restored = golive::restore(&[task(&to)], &snapshot).unwrap();
    drop((from, source));
    stage.unmute("target");
    restored.release();
    assert_eq!(target.wait(), [(20, IN)]);
    // The registration is still that of the same file: a new request is an edge.
    (&silent).write_all(b"another").unwrap();
    let mut ready = Vec::new();
    until(|| {
        ready = target.wait();
        !ready.is_empty()
    });
    assert_eq!(ready, [(21, IN)]);
    let mut bytes = [0; 8];
    target.file(20).read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"question");
}
