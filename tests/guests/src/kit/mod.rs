//! What guests share: system calls that report what went wrong, the digest chain, checks, processes, threads, signals, a directory.

#[macro_use]
pub mod call;
#[macro_use]
pub mod posix;
pub mod chain;
pub mod clock;
pub mod dir;
pub mod fd;
pub mod guest;
pub mod order;
pub mod plain;
pub mod process;
pub mod signal;
pub mod thread;

pub use chain::{Chain, unsupported};
pub use dir::WorkDir;
pub use guest::Guest;
pub use order::Order;
pub use plain::zero;

/// What a guest's function returns: an error is the message of a check that failed.
pub type Result<T = ()> = anyhow::Result<T>;
