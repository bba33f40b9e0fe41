//! What guests share: system calls that report what went wrong, the digest chain, checks, processes, signals, a directory.

#[macro_use]
pub mod call;
pub mod chain;
pub mod clock;
pub mod dir;
pub mod fd;
pub mod guest;
pub mod plain;
pub mod process;
pub mod signal;

pub use chain::{Chain, unsupported};
pub use dir::WorkDir;
pub use guest::Guest;
pub use plain::zero;

/// What a guest's function returns: an error is the message of a check that failed.
pub type Result<T = ()> = anyhow::Result<T>;
