//! Has the replica the source's descriptors: the same tasks, numbers, kinds, and sharing?

use std::collections::HashMap;

use super::descriptors::Tables;
use super::{RestoreError, Snapshot, TargetTask, TaskDescriptors};

/// The replica's tasks in the order of the snapshot's.
pub(super) fn in_snapshot_order(tasks: &[TargetTask], snapshot: &Snapshot) -> Result<Vec<TargetTask>, RestoreError> {
    let mut by_tid: HashMap<i32, TargetTask> = tasks.iter().map(|task| (task.ns_tid, *task)).collect();
    let take = |wanted: &TaskDescriptors| {
        by_tid.remove(&wanted.ns_tid).ok_or(RestoreError::TaskMissing { task: wanted.ns_tid, side: "source" })
    };
    let ordered = snapshot.tasks.iter().map(take).collect::<Result<_, _>>()?;
    match by_tid.keys().min() {
        Some(task) => Err(RestoreError::TaskMissing { task: *task, side: "replica" }),
        None => Ok(ordered),
    }
}

/// For each of the snapshot's files the replica's, after a check that numbers, kinds and sharing agree.
pub(super) fn match_files(tables: &Tables, snapshot: &Snapshot) -> Result<Vec<usize>, RestoreError> {
    let mut found: Vec<Option<(usize, i32, i32)>> = vec![None; snapshot.files.len()];
    let mut taken: Vec<Option<(u32, i32, i32)>> = vec![None; tables.files.len()];
    for ((task, here), there) in tables.tasks.iter().zip(&tables.descriptors).zip(&snapshot.tasks) {
        let task = task.ns_tid;
        for descriptor in &there.descriptors {
            let fd = descriptor.fd;
            let wanted = snapshot.files.get(descriptor.file as usize);
            let wanted = wanted.ok_or_else(|| RestoreError::Inconsistent(format!("task {task}, descriptor {fd} has no file")))?;
            let Ok(at) = here.binary_search_by_key(&fd, |(fd, _)| *fd) else {
                return Err(RestoreError::DescriptorMissing { task, fd, kind: wanted.kind.clone(), side: "source" });
            };
            let file = here[at].1;
            let kind = &tables.files[file].kind;
            if *kind != wanted.kind {
                return Err(RestoreError::KindDiffers { task, fd, found: kind.clone(), wanted: wanted.kind.clone() });
            }
            let differs =
                |other_task, other_fd| Err(RestoreError::SharingDiffers { task, fd, kind: kind.clone(), other_task, other_fd });
            match found[descriptor.file as usize].get_or_insert((file, task, fd)) {
                (same, ..) if *same == file => {}
                (_, other_task, other_fd) => return differs(*other_task, *other_fd),
            }
            match taken[file].get_or_insert((descriptor.file, task, fd)) {
                (same, ..) if *same == descriptor.file => {}
                (_, other_task, other_fd) => return differs(*other_task, *other_fd),
            }
        }
        let extra = here.iter().find(|(fd, _)| there.descriptors.binary_search_by_key(fd, |entry| entry.fd).is_err());
        if let Some((fd, file)) = extra {
            let kind = tables.files[*file].kind.clone();
            return Err(RestoreError::DescriptorMissing { task, fd: *fd, kind, side: "replica" });
        }
    }
    let held_by_none = |index| RestoreError::Inconsistent(format!("file {index} has no descriptor"));
    found.into_iter().enumerate().map(|(index, found)| Ok(found.ok_or_else(|| held_by_none(index))?.0)).collect()
}
