//! Hands the source's live kernel objects to the replica.
//!
//! Replay brings the replica's memory and the *topology* of its descriptors to where the source is: the same numbers lead to
//! the same kinds of objects, shared in the same way. What those objects *contain* comes from the frozen source, once:
//!
//! ```text
//!   source: frozen, network muted              target: replica held by the tracer, network muted
//!   capture(tasks) -> Snapshot  ── wire ──>    restore(tasks, &Snapshot) -> Restored
//!        |                                          |         (may fail: kill the replica, thaw the source)
//!        |                                     ── Go, the point of no return; unmute, announce ──
//!        |                                          |
//!        x  closed by the agent                Restored::release() -> ReleaseReport   (does not fail)
//! ```
//!
//! `capture` leaves no trace in the source, so that after an abort it thaws and goes on. `restore` sends nothing: connections
//! stay in repair mode until `release`, and a socket that is closed in that mode vanishes silently. The replica's tasks must not
//! run between the two: a `write` on a socket in repair mode fails. An agent that died between them is made up for by
//! [`leave_repair_mode`], which is harmless at any time.
//!
//! One object a file, its capture and its restore side by side: [`tcp`], [`udp`], [`unix`], [`pipe`], [`eventfd`],
//! [`timerfd`], [`epoll`], [`file`]. What the network brings meanwhile is not lost either: [`stragglers`].

mod agreement;
mod bytes;
mod capture;
mod clocks;
mod descriptors;
pub mod epoll;
mod error;
pub mod eventfd;
mod fdinfo;
pub mod file;
mod inotify;
pub mod options;
pub mod pipe;
pub mod processes;
mod restore;
pub mod signals;
mod snapshot;
pub mod stragglers;
pub mod tcp;
pub mod timerfd;
pub mod udp;
pub mod unix;

pub use bytes::Bytes;
pub use capture::capture;
pub use clocks::Clocks;
pub use descriptors::Kind;
pub use error::{CaptureError, Obstacle, RestoreError};
pub use restore::{ReleaseReport, RestoreReport, Restored, leave_repair_mode, restore};
pub use snapshot::{Descriptor, FileState, Losses, OpenFile, Snapshot, TaskDescriptors};

/// A process of the container. Threads share their process's descriptors and are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number in the container's pid namespace: the same on both sides.
    pub ns_tid: i32,
    /// Its number in the agent's pid namespace.
    pub host_pid: i32,
}

/// A process of the frozen source.
pub type SourceTask = Task;
/// A process of the replica, stopped under the tracer.
pub type TargetTask = Task;

#[cfg(test)]
mod tests;
