//! The control groups of a lab's containers: what is left in them when a lab goes down is ended there.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const MOUNT: &str = "/sys/fs/cgroup";

/// The version 2 tree: alone, or beside version 1 ("hybrid").
pub fn unified() -> PathBuf {
    let hybrid = Path::new(MOUNT).join("unified");
    if hybrid.is_dir() { hybrid } else { PathBuf::from(MOUNT) }
}

/// Whether a group below `parent` is frozen.
pub fn frozen(parent: &str, id: &str) -> bool {
    let events = unified().join(parent.trim_start_matches('/')).join(id).join("cgroup.events");
    fs::read_to_string(events).is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
}

/// Ends every process below `parent`, frozen ones too, and removes the groups from every hierarchy.
pub fn remove(parent: &str) {
    let name = parent.trim_start_matches('/');
    let group = unified().join(name);
    // `cgroup.kill` reaches frozen processes and those that are being forked.
    if group.is_dir() && fs::write(group.join("cgroup.kill"), "1").is_err() {
        eprintln!("cannot end the processes in {}", group.display());
    }
    let hierarchies = fs::read_dir(MOUNT).into_iter().flatten().flatten().map(|entry| entry.path()).chain([PathBuf::from(MOUNT)]);
    for hierarchy in hierarchies {
        // Version 1 controllers that are linked to each other appear twice.
        let group = hierarchy.join(name);
        if group.is_dir() && !hierarchy.is_symlink() {
            remove_tree(&group);
        }
    }
}

fn remove_tree(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&child.path());
        }
    }
    // A group is busy for a moment after its last process was killed.
    for _ in 0..200 {
        if fs::remove_dir(group).is_ok() || !group.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    eprintln!("cannot remove {}", group.display());
}
