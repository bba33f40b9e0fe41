//! Inode and device numbers that survive a move.
//!
//! While a replica follows the log, its stat calls are answered from the log: with the source's numbers. When it is live, the kernel
//! answers, with those that the files have on this host. A program that keeps the numbers of a file that it has open and looks again
//! takes it for another file then: sqlite makes its database read-only.
//!
//! So for a container that is known to have looked at a file that it still holds open ([`Seen`]), a seccomp filter of its own is
//! installed at the cut-over ([`filter`]), by which the kernel asks a process of ours about every stat call ([`supervisor`]). That looks
//! at the file as the caller would, and shows the numbers that the file had on the source ([`InodeMap`]). All other containers have no
//! filter. docs/decisions/0005-inode-numbers.md says what it costs and what else was measured.

pub mod filter;
mod map;
mod seen;
mod start;
pub mod supervisor;

pub use map::{Identity, InodeMap, MapError};
pub use seen::Seen;
pub use start::{StartError, start};

use serde::{Deserialize, Serialize};

/// What is done about inode numbers at a move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Inodes {
    /// Programs go on seeing the source's numbers, where it matters.
    #[default]
    Keep,
    /// Programs see this host's numbers from the cut-over on.
    New,
}

/// What was done about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodeReport {
    /// Files held open whose numbers the container had looked at and that are others on the target.
    pub needed: u64,
    /// Files whose numbers are kept by the supervisor; 0 without one.
    pub kept: u64,
    /// The filter's price in a container without CAP_SYS_ADMIN: set-user-id programs give no rights any more.
    pub no_new_privs: bool,
}
