//! From ring entries to records in order.
//!
//! ```text
//!   ring --copy--> Batch, one a container --sink--> Assembler --RecordRef--> screen, chunk
//! ```
//!
//! [`Drain`] empties the ring on a thread of its own and hands each container's entries to its sink. [`Assembler`] makes the
//! container's log of them: pieces joined, in order of `seq`, each image behind its exec, and a gap where something is lost.
//! It is pure: no ring, no clock.
//!
//! That a record is lost and not only late is known by a *mark*: the drain reads how many records the programs have numbered,
//! waits until every program that was running has ended, and empties the ring. Whatever was numbered before and is not there
//! then will never come ([`Batch::drained_below`]).
//!
//! On a host whose processors are busy with the containers, what this costs a record is taken from them. So an entry is copied
//! once, out of the ring, and not allocated; threads are woken for batches; and what is looked up a record is an index.

mod assembler;
#[cfg(test)]
mod assembler_model;
#[cfg(test)]
mod assembler_tests;
mod batch;
mod drain;
mod entry;
#[cfg(test)]
mod measure;
mod slots;
mod stats;
mod waiting;
mod worker;

use crate::probe::ProbeError;

pub use assembler::{Assembler, Event, GapReason};
pub use batch::Batch;
pub use drain::{Drain, DrainOptions, Fill, OnFill, Programs, Sink};
pub use stats::Stats;
pub(crate) use stats::thread_cpu_ns;

/// Why the ring cannot be drained.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error("the thread that drains the ring cannot be started: {0}")]
    Start(std::io::Error),
    #[error("the thread that drains the ring has ended")]
    Ended,
    #[error("waiting for running eBPF programs: {0}")]
    Grace(std::io::Error),
    #[error("no sink takes the records of slot {0}")]
    NoSink(u32),
    #[error(transparent)]
    Counters(#[from] ProbeError),
}
