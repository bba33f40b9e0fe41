use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::holder::Holder;
use super::{privileged, task};
use crate::golive::{self, CaptureError, RestoreError, Snapshot};
use crate::sys::sockopt;

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn put(socket: &OwnedFd, bytes: &[u8]) {
    assert_eq!(send(socket, bytes, SendFlags::NOSIGNAL).unwrap(), bytes.len());
}

/// Everything that can be read without waiting, read by read.
fn take(socket: &OwnedFd) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1 << 18];
    let mut reads = Vec::new();
    while let Ok((_, length)) = recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        if length == 0 && reads.len() > 100 {
            break;
        }
        reads.push(buffer[..length].to_vec());
    }
    reads
}

/// Two processes, each with one end.
fn holders(ends: &(OwnedFd, OwnedFd)) -> [Holder; 2] {
    [Holder::new(None, &[(&ends.0, 3)]), Holder::new(None, &[(&ends.1, 4)])]
}

fn captured(ends: &(OwnedFd, OwnedFd)) -> Snapshot {
    let [left, right] = holders(ends);
    super::capture(&[&left, &right])
}

fn why_not(fds: &[(&dyn AsRawFd, i32)]) -> String {
    let holder = Holder::new(None, fds);
    match golive::capture(&[task(&holder)]) {
        Err(CaptureError::Retry { why }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn queued_bytes_and_datagrams_move_with_their_boundaries_in_both_directions() {
    if !privileged("queued_bytes_and_datagrams") {
        return;
    }
    for kind in [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET] {
        let source = pair(kind);
        let long = vec![9; 100_000];
        for bytes in [&b"first"[..], b"2", &long] {
            put(&source.0, bytes);
        }
        put(&source.1, b"back");
        sockopt::set(&source.0, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &2).unwrap();
        let snapshot = captured(&source);
        assert_eq!(captured(&source).files, snapshot.files, "capturing is not a change");
        assert_eq!(sockopt::get::<i32>(&source.0, libc::SOL_SOCKET, libc::SO_PEEK_OFF).unwrap(), 2);

        let target = pair(kind);
        put(&target.1, b"stale");
        let [left, right] = holders(&target);
        let report = golive::restore(&super::tasks(&[&left, &right]), &snapshot).unwrap().report;
        assert_eq!(report.unix_bytes, 100_010);
        assert_eq!(report.warnings, Vec::<String>::new());
        for (ends, side) in [(&source, "source"), (&target, "target")] {
            let reads = take(&ends.1);
            if kind == SocketType::STREAM {
                assert!(reads.concat() == [&b"first2"[..], &long].concat(), "{side}");
            } else {
                assert!(reads == [b"first".to_vec(), b"2".to_vec(), long.clone()], "{side}");
            }
            assert_eq!(take(&ends.0), [b"back".to_vec()], "{side}");
        }
        // Still connected, and no larger than before.
        put(&target.0, b"on");
        assert_eq!(take(&target.1), [b"on".to_vec()]);
        let size = |socket| sockopt::get::<i32>(socket, libc::SOL_SOCKET, libc::SO_SNDBUF).unwrap();
        assert_eq!(size(&target.0), size(&source.0));
    }
}

#[test]
fn empty_datagrams_count() {
    if !privileged("empty_datagrams") {
        return;
    }
    let (source, target) = (pair(SocketType::DGRAM), pair(SocketType::DGRAM));
    for bytes in [&b""[..], b"x", b"", b""] {
        put(&source.0, bytes);
    }
    let snapshot = captured(&source);
    let [left, right] = holders(&target);
    golive::restore(&super::tasks(&[&left, &right]), &snapshot).unwrap();
    assert_eq!(take(&target.1), [b"".to_vec(), b"x".to_vec(), b"".to_vec(), b"".to_vec()]);
}

#[test]
fn a_direction_that_was_shut_down_is_shut_down_after_the_move() {
    if !privileged("a_direction_that_was_shut_down") {
        return;
    }
    let (source, target) = (pair(SocketType::STREAM), pair(SocketType::STREAM));
    rustix::net::shutdown(&source.0, rustix::net::Shutdown::Write).unwrap();
    let snapshot = captured(&source);
    let [left, right] = holders(&target);
    golive::restore(&super::tasks(&[&left, &right]), &snapshot).unwrap();
    assert!(send(&target.0, b"x", SendFlags::NOSIGNAL).is_err());
    put(&target.1, b"the other still goes");
    assert_eq!(recv(&target.1, &mut [0; 8][..], RecvFlags::DONTWAIT).unwrap().1, 0, "the end");
}

#[test]
fn what_passes_by_itself_asks_for_another_try() {
    if !privileged("what_passes_by_itself") {
        return;
    }
    // Data of a peer that closed.
    let ends = pair(SocketType::STREAM);
    put(&ends.0, b"orphaned");
    let (gone, left) = ends;
    drop(gone);
    assert!(why_not(&[(&left, 3)]).contains("closed or not connected"));

    // A connection that nobody accepted.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let idle = Holder::new(None, &[(&listener, 3)]);
    assert!(golive::capture(&[task(&idle)]).is_ok());
    let client = UnixStream::connect(&path).unwrap();
    assert!(why_not(&[(&listener, 3), (&client, 4)]).contains("wait to be accepted"));

    // A descriptor on its way.
    let ends = pair(SocketType::STREAM);
    pass_descriptor(&ends.0);
    assert!(why_not(&[(&ends.0, 3), (&ends.1, 4)]).contains("descriptors are on their way"));
}

/// Sends standard input's descriptor.
fn pass_descriptor(through: &OwnedFd) {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let fds = [0];
    let message = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(through.as_raw_fd(), &[std::io::IoSlice::new(b"x")], &message, MsgFlags::empty(), None).unwrap();
}

#[test]
fn a_socket_connected_to_somebody_outside_is_refused() {
    if !privileged("a_socket_connected_to_somebody_outside") {
        return;
    }
    let (inside, _outside) = UnixStream::pair().unwrap();
    let holder = Holder::new(None, &[(&inside, 3)]);
    match golive::capture(&[task(&holder)]) {
        Err(CaptureError::Unsupported { fd: 3, what, .. }) => assert!(what.contains("outside"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replica_whose_sockets_are_connected_otherwise_is_refused() {
    if !privileged("a_replica_whose_sockets_are_connected_otherwise") {
        return;
    }
    let source = pair(SocketType::STREAM);
    let snapshot = captured(&source);
    // SAFETY: socket has no memory arguments, and the descriptor belongs to nobody else.
    let alone = || unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)) };
    let [left, right] = holders(&(alone(), alone()));
    match golive::restore(&super::tasks(&[&left, &right]), &snapshot) {
        Err(RestoreError::Unsupported { task: 1, fd: 3, what, .. }) => {
            assert_eq!(what, "the replica's socket is connected to nothing, the source's to another socket");
        }
        other => panic!("{other:?}"),
    }
    let mut source = UnixStream::from(source.0);
    source.write_all(b"the source is as before").unwrap();
}
