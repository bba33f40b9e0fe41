//! What can stand in the way of the cut-over.

use std::io;

use super::Kind;

/// Why one object could not be captured or restored; the caller adds whose it is.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// A passing state: thaw, let the program go on, try again.
    #[error("{0}")]
    Passing(String),
    /// A state that cannot be carried over.
    #[error("{0}")]
    Unsupported(String),
    /// A system call failed.
    #[error("{step}: {source}")]
    Call { step: &'static str, source: io::Error },
}

/// Names the step that an I/O error happened in.
pub(super) trait During<T> {
    fn during(self, step: &'static str) -> Result<T, Obstacle>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &'static str) -> Result<T, Obstacle> {
        self.map_err(|source| Obstacle::Call { step, source: source.into() })
    }
}

/// Why the source's objects could not be captured. The source is unharmed in every case.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Nothing is wrong: thaw the source for a moment and capture again.
    #[error("not at this moment: {why}")]
    Retry { why: String },
    /// The container cannot be moved while it holds this.
    #[error("task {task}, descriptor {fd} ({kind}) cannot be moved: {what}")]
    Unsupported { task: i32, fd: i32, kind: Kind, what: String },
    /// A system call failed on an object.
    #[error("task {task}, descriptor {fd} ({kind}): {step}")]
    Object { task: i32, fd: i32, kind: Kind, step: &'static str, source: io::Error },
    /// A system call failed on a task.
    #[error("task {task}: {step}")]
    Task { task: i32, step: &'static str, source: io::Error },
    /// There was nothing to capture.
    #[error("no tasks given")]
    NoTasks,
}

/// Why the replica could not be filled. It must be killed, which sends nothing; the source may thaw.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot is of a version that this program does not know.
    #[error("snapshot version {found}, this program restores {known}")]
    Version { found: u16, known: u16 },
    /// The snapshot refers to something that it does not contain.
    #[error("snapshot is inconsistent: {0}")]
    Inconsistent(String),
    /// The replica's tasks are not the source's.
    #[error("task {task} is only in the {side}")]
    TaskMissing { task: i32, side: &'static str },
    /// A descriptor is open on one side only.
    #[error("task {task}, descriptor {fd} ({kind}) is open only in the {side}")]
    DescriptorMissing { task: i32, fd: i32, kind: Kind, side: &'static str },
    /// A descriptor leads to different kinds of objects.
    #[error("task {task}, descriptor {fd} is {found} in the replica, {wanted} in the source")]
    KindDiffers { task: i32, fd: i32, found: Kind, wanted: Kind },
    /// A descriptor is shared with others than in the source.
    #[error("task {task}, descriptor {fd} ({kind}) is not shared as in the source: see task {other_task}, descriptor {other_fd}")]
    SharingDiffers { task: i32, fd: i32, kind: Kind, other_task: i32, other_fd: i32 },
    /// The object in the replica cannot take the state.
    #[error("task {task}, descriptor {fd} ({kind}) does not fit: {what}")]
    Unsupported { task: i32, fd: i32, kind: Kind, what: String },
    /// A system call failed on an object.
    #[error("task {task}, descriptor {fd} ({kind}): {step}")]
    Object { task: i32, fd: i32, kind: Kind, step: &'static str, source: io::Error },
    /// A system call failed on a task.
    #[error("task {task}: {step}")]
    Task { task: i32, step: &'static str, source: io::Error },
}
