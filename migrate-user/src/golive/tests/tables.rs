use std::fs::File;
use std::os::fd::AsRawFd;

use super::holder::Holder;
use super::stage::numbered;
use super::{privileged, task, tasks};
use crate::golive::{CaptureError, Kind, RestoreError, Snapshot, restore, signals};

fn null() -> File {
    File::open("/dev/null").unwrap()
}

#[test]
fn a_replica_with_other_descriptors_is_refused_by_name() {
    if !privileged("a_replica_with_other_descriptors") {
        return;
    }
    let (device, directory) = (null(), File::open("/").unwrap());
    let source = Holder::new(None, &[(&device, 3), (&directory, 5)]);
    let snapshot = super::capture(&[&source]);
    let try_with = |descriptors: &[(&dyn AsRawFd, i32)]| {
        let target = Holder::new(None, descriptors);
        restore(&[task(&target)], &snapshot).err()
    };
    assert!(try_with(&[(&device, 3), (&directory, 5)]).is_none());
    match try_with(&[(&device, 3)]) {
        Some(RestoreError::DescriptorMissing { task: 1, fd: 5, kind: Kind::Directory, side: "source" }) => {}
        other => panic!("{other:?}"),
    }
    match try_with(&[(&device, 3), (&directory, 5), (&directory, 6)]) {
        Some(RestoreError::DescriptorMissing { task: 1, fd: 6, side: "replica", .. }) => {}
        other => panic!("{other:?}"),
    }
    match try_with(&[(&device, 3), (&device, 5)]) {
        Some(error @ RestoreError::KindDiffers { .. }) => {
            assert_eq!(error.to_string(), "task 1, descriptor 5 is character device in the replica, directory in the source");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn sharing_between_processes_must_be_the_same() {
    if !privileged("sharing_between_processes") {
        return;
    }
    let (shared, own) = (null(), null());
    let source = [Holder::new(None, &[(&shared, 3)]), Holder::new(None, &[(&shared, 4)])];
    let snapshot = super::capture(&[&source[0], &source[1]]);
    assert_eq!(snapshot.files.len(), 1);
    let same = [Holder::new(None, &[(&own, 3)]), Holder::new(None, &[(&own, 4)])];
    assert!(restore(&tasks(&[&same[0], &same[1]]), &snapshot).is_ok());
    let other = [Holder::new(None, &[(&own, 3)]), Holder::new(None, &[(&shared, 4)])];
    match restore(&tasks(&[&other[0], &other[1]]), &snapshot) {
        Err(RestoreError::SharingDiffers { task: 2, fd: 4, other_task: 1, other_fd: 3, .. }) => {}
        other => panic!("{other:?}"),
    }
    match restore(&tasks(&[&same[0]]), &snapshot) {
        Err(RestoreError::TaskMissing { task: 2, side: "source" }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_of_another_version_or_without_its_files_is_refused() {
    if !privileged("a_snapshot_of_another_version") {
        return;
    }
    let device = null();
    let holder = Holder::new(None, &numbered(std::slice::from_ref(&device)));
    let snapshot = super::capture(&[&holder]);
    let newer = Snapshot { version: 9, ..snapshot.clone() };
    assert!(matches!(restore(&[task(&holder)], &newer), Err(RestoreError::Version { found: 9, known: Snapshot::VERSION })));
    let hollow = Snapshot { files: Vec::new(), ..snapshot };
    assert!(matches!(restore(&[task(&holder)], &hollow), Err(RestoreError::Inconsistent(_))));
}

#[test]
fn what_cannot_be_moved_is_named() {
    if !privileged("what_cannot_be_moved") {
        return;
    }
    // SAFETY: socket has no memory arguments, and the descriptor belongs to nobody else.
    let vsock = unsafe {
        use std::os::fd::{FromRawFd, OwnedFd};
        OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0))
    };
    let holder = Holder::new(None, &[(&vsock, 7)]);
    match crate::golive::capture(&[task(&holder)]) {
        Err(error @ CaptureError::Unsupported { fd: 7, .. }) => {
            assert!(error.to_string().contains("socket(17, 2, 0)"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(crate::golive::capture(&[]), Err(CaptureError::NoTasks)));
}

#[test]
fn pending_signals_are_seen_from_outside() {
    if !privileged("pending_signals") {
        return;
    }
    let holder = Holder::new(None, &[]);
    holder.signal(libc::SIGUSR1);
    let snapshot = super::capture(&[&holder]);
    assert_eq!(snapshot.tasks[0].pending, signals::PendingMasks { thread: 0, process: 1 << (libc::SIGUSR1 - 1) });
    let unasked = signals::PendingSignals { ns_tid: 1, ..signals::PendingSignals::default() };
    assert_eq!(unasked.missing(snapshot.tasks[0].pending).process, 1 << (libc::SIGUSR1 - 1));
}
