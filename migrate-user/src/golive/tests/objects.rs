use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use super::holder::Holder;
use super::stage::numbered;
use super::{privileged, task};
use crate::golive::{self, CaptureError, FileState, RestoreReport};

/// Moves the descriptors of one process to another one, under the numbers from 3 on; the source's are looked at twice on the way.
fn moved(source: &[&dyn AsRawFd], target: &[&dyn AsRawFd]) -> RestoreReport {
    let number = |list: &[&dyn AsRawFd]| list.iter().map(|fd| fd.as_raw_fd()).collect::<Vec<_>>();
    let from = Holder::new(None, &numbered(&number(source)));
    let to = Holder::new(None, &numbered(&number(target)));
    let snapshot = super::capture(&[&from]);
    let mut again = super::capture(&[&from]);
    again.clocks = snapshot.clocks;
    let without_deadlines = |mut snapshot: golive::Snapshot| {
        for file in &mut snapshot.files {
            if let FileState::TimerFd(timer) = &mut file.state {
                timer.deadline_ns = None;
                timer.ticks = 0;
            }
        }
        snapshot
    };
    assert_eq!(without_deadlines(again), without_deadlines(snapshot.clone()), "capturing is not a change");
    let mut restored = golive::restore(&[task(&to)], &snapshot).unwrap();
    assert_eq!(restored.release().failures, Vec::<String>::new());
    restored.report
}

fn pipe() -> (File, File) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer.into())
}

fn eventfd(count: u32, flags: i32) -> File {
    // SAFETY: eventfd has no memory arguments, and the descriptor belongs to nobody else.
    unsafe { File::from_raw_fd(libc::eventfd(count, flags | libc::EFD_NONBLOCK)) }
}

fn timerfd(clock: i32) -> OwnedFd {
    // SAFETY: timerfd_create has no memory arguments, and the descriptor belongs to nobody else.
    unsafe { OwnedFd::from_raw_fd(libc::timerfd_create(clock, libc::TFD_NONBLOCK)) }
}

fn arm(timer: &OwnedFd, flags: i32, value: Duration, interval: Duration) {
    let timespec = |time: Duration| libc::timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
    let spec = libc::itimerspec { it_interval: timespec(interval), it_value: timespec(value) };
    // SAFETY: the kernel reads one itimerspec.
    assert_eq!(unsafe { libc::timerfd_settime(timer.as_raw_fd(), flags, &spec, std::ptr::null_mut()) }, 0);
}

/// Time left and interval.
fn look(timer: &OwnedFd) -> (Duration, Duration) {
    // SAFETY: all zeros is a valid itimerspec.
    let mut spec: libc::itimerspec = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one itimerspec.
    assert_eq!(unsafe { libc::timerfd_gettime(timer.as_raw_fd(), &mut spec) }, 0);
    let duration = |time: libc::timespec| Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    (duration(spec.it_value), duration(spec.it_interval))
}

fn expirations(timer: &OwnedFd) -> Option<u64> {
    let mut count = [0; 8];
    rustix::io::read(timer, &mut count).ok().map(|_| u64::from_ne_bytes(count))
}

#[test]
fn a_pipe_keeps_its_bytes_and_its_size_and_stale_bytes_of_the_replica_are_gone() {
    if !privileged("a_pipe_keeps_its_bytes") {
        return;
    }
    for len in [0, 1, 5000, 65_536] {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let (mut reader, mut writer) = pipe();
        writer.write_all(&bytes).unwrap();
        let (mut new_reader, mut new_writer) = pipe();
        new_writer.write_all(b"stale").unwrap();
        let report = moved(&[&reader, &writer], &[&new_reader, &new_writer]);
        assert_eq!(report.pipe_bytes, len);
        drop((writer, new_writer));
        let (mut old, mut new) = (Vec::new(), Vec::new());
        reader.read_to_end(&mut old).unwrap();
        new_reader.read_to_end(&mut new).unwrap();
        assert!(old == bytes && new == bytes, "{len} bytes, in the source and in the replica");
    }
    let ((reader, mut writer), (mut new_reader, new_writer)) = (pipe(), pipe());
    fcntl_setpipe_size(&reader, 1 << 18).unwrap();
    writer.write_all(&[1; 200_000]).unwrap();
    moved(&[&reader, &writer], &[&new_reader, &new_writer]);
    assert_eq!(fcntl_getpipe_size(&new_reader).unwrap(), 1 << 18);
    let mut bytes = vec![0; 200_000];
    new_reader.read_exact(&mut bytes).unwrap();
}

#[test]
fn a_pipe_with_one_end_left_is_filled_and_then_ends() {
    if !privileged("a_pipe_with_one_end_left") {
        return;
    }
    let ((reader, mut writer), (mut new_reader, new_writer)) = (pipe(), pipe());
    writer.write_all(b"last words").unwrap();
    drop((writer, new_writer));
    moved(&[&reader], &[&new_reader]);
    let mut text = String::new();
    new_reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words");
}

#[test]
fn a_pipe_that_is_read_outside_of_the_container_is_left_alone() {
    if !privileged("a_pipe_that_is_read_outside") {
        return;
    }
    let ((_reader, mut writer), (mut new_reader, mut new_writer)) = (pipe(), pipe());
    writer.write_all(b"collected on the source").unwrap();
    new_writer.write_all(b"collected on the target").unwrap();
    assert_eq!(moved(&[&writer], &[&new_writer]).pipe_bytes, 0);
    drop(new_writer);
    let mut text = String::new();
    new_reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "collected on the target");
}

#[test]
fn packets_in_a_pipe_stay_packets() {
    if !privileged("packets_in_a_pipe") {
        return;
    }
    let packets = || {
        let (reader, writer) = pipe_with(PipeFlags::DIRECT).unwrap();
        (File::from(reader), File::from(writer))
    };
    let ((reader, mut writer), (mut new_reader, new_writer)) = (packets(), packets());
    for packet in [&b"one"[..], b"second", b"3"] {
        writer.write_all(packet).unwrap();
    }
    moved(&[&reader, &writer], &[&new_reader, &new_writer]);
    let mut buffer = [0; 64];
    let lengths = [(); 3].map(|()| new_reader.read(&mut buffer).unwrap());
    assert_eq!(lengths, [3, 6, 1]);
}

#[test]
fn an_eventfd_keeps_its_count_up_or_down_and_as_a_semaphore() {
    if !privileged("an_eventfd_keeps_its_count") {
        return;
    }
    for flags in [0, libc::EFD_SEMAPHORE] {
        for (wanted, found) in [(0, 0), (7, 0), (7, 7), (7, 9), (0, 3)] {
            let (source, mut target) = (eventfd(wanted, flags), eventfd(found, flags));
            moved(&[&source], &[&target]);
            let mut sum = 0;
            let mut count = [0; 8];
            while target.read(&mut count).is_ok() {
                sum += u64::from_ne_bytes(count);
            }
            assert_eq!(sum, u64::from(wanted), "from {found}, flags {flags}");
        }
    }
}

#[test]
fn a_timer_fires_when_it_would_have_and_remembers_how_often_it_fired() {
    if !privileged("a_timer_fires_when_it_would_have") {
        return;
    }
    let hour = Duration::from_secs(3600);
    for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME] {
        let (source, target) = (timerfd(clock), timerfd(clock));
        arm(&source, 0, hour, Duration::from_secs(5));
        moved(&[&source], &[&target]);
        let ((before, interval), (left, moved_interval)) = (look(&source), look(&target));
        assert!(before.abs_diff(left) < hour / 2, "{before:?} and {left:?} left");
        assert_eq!(interval, moved_interval);
        assert_eq!(expirations(&target), None);
    }
    // Fired some times, nobody looked.
    let (source, target) = (timerfd(libc::CLOCK_MONOTONIC), timerfd(libc::CLOCK_MONOTONIC));
    arm(&source, 0, Duration::from_millis(1), Duration::from_millis(1));
    std::thread::sleep(Duration::from_millis(20));
    moved(&[&source], &[&target]);
    assert!(expirations(&target).unwrap() >= 19, "a sleep is never shorter");
    // Fired once and for all.
    arm(&source, 0, Duration::from_millis(1), Duration::ZERO);
    std::thread::sleep(Duration::from_millis(2));
    moved(&[&source], &[&target]);
    assert_eq!((expirations(&target), look(&target).0), (Some(1), Duration::ZERO));
    // Disarmed; the replica's is armed.
    arm(&source, 0, Duration::ZERO, Duration::ZERO);
    arm(&target, 0, hour, hour);
    moved(&[&source], &[&target]);
    assert_eq!(look(&target).0, Duration::ZERO);
}

#[test]
fn files_keep_their_position_and_flags() {
    if !privileged("files_keep_their_position") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, [1; 100]).unwrap();
    let mut source = File::options().read(true).write(true).open(&path).unwrap();
    let mut target = File::options().read(true).write(true).open(&path).unwrap();
    source.seek(SeekFrom::Start(42)).unwrap();
    fcntl_setfl(&source, OFlags::APPEND | OFlags::NONBLOCK).unwrap();
    let device = File::open("/dev/null").unwrap();
    let report = moved(&[&source, &device], &[&target, &device]);
    assert_eq!((report.positions_corrected, report.flags_corrected), (1, 1));
    assert_eq!(target.stream_position().unwrap(), 42);
    assert!(fcntl_getfl(&target).unwrap().contains(OFlags::APPEND | OFlags::NONBLOCK));
    assert_eq!(source.stream_position().unwrap(), 42);
    assert_eq!(moved(&[&source], &[&target]).positions_corrected, 0);
}

#[test]
fn unread_file_events_ask_for_another_try() {
    if !privileged("unread_file_events") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // SAFETY: the path is a C string; the descriptor belongs to nobody else.
    let watch = unsafe {
        let watch = OwnedFd::from_raw_fd(libc::inotify_init1(0));
        let path = std::ffi::CString::new(directory.path().to_str().unwrap()).unwrap();
        assert!(libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) >= 0);
        watch
    };
    let holder = Holder::new(None, &[(&watch, 3)]);
    assert!(golive::capture(&[task(&holder)]).is_ok());
    std::fs::write(directory.path().join("new"), "").unwrap();
    match golive::capture(&[task(&holder)]) {
        Err(CaptureError::Retry { why }) => assert!(why.starts_with("task 1, descriptor 3 (inotify)"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn udp_sockets_keep_their_addresses_and_lost_datagrams_are_counted() {
    if !privileged("udp_sockets_keep_their_addresses") {
        return;
    }
    use std::net::UdpSocket;
    let [here, there] = [(); 2].map(|()| super::stage::new_namespace().unwrap());
    let up = |ns: &File| {
        let work = || std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(crate::sys::enter_netns::within(ns, work).unwrap().unwrap().success());
    };
    up(&here);
    up(&there);
    let inside = |ns: &File, address: &'static str| {
        crate::sys::enter_netns::within(ns, move || UdpSocket::bind(address)).unwrap().unwrap()
    };
    let source = inside(&here, "127.0.0.1:5353");
    let sender = inside(&here, "127.0.0.1:1000");
    for datagram in [&b"one"[..], b"", b"three"] {
        sender.send_to(datagram, "127.0.0.1:5353").unwrap();
    }
    source.connect("127.0.0.1:1000").unwrap();
    let stand_in = || {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
    };
    let target = crate::sys::enter_netns::within(&there, stand_in).unwrap().unwrap();
    let from = Holder::new(Some(&here), &[(&source, 3)]);
    let to = Holder::new(Some(&there), &[(&target, 3)]);
    let snapshot = super::capture(&[&from]);
    assert_eq!(snapshot.losses.datagrams, 3);
    golive::restore(&[task(&to)], &snapshot).unwrap();
    let target = UdpSocket::from(target);
    assert_eq!(target.local_addr().unwrap(), source.local_addr().unwrap());
    assert_eq!(target.peer_addr().unwrap(), source.peer_addr().unwrap());
    let mut buffer = [0; 16];
    assert_eq!([(); 3].map(|()| source.recv(&mut buffer).unwrap()), [3, 0, 5], "the source still has them");
}
