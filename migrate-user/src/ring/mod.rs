//! From ring entries to records in order.
//!
//! [`Drain`] empties the ring on a thread of its own and hands each container's entries to its sink. [`Assembler`] makes the
//! container's log of them: pieces joined, in order of `seq`, each image behind its exec, and a gap where something is lost.
//! It is pure: no ring, no clock.
//!
//! That a record is lost and not only late is known by a *mark*: the drain reads how many records the programs have numbered,
//! waits until every program that was running has ended, and empties the ring. Whatever was numbered before and is not there
//! then will never come ([`Batch::drained_below`]).

mod assembler;
#[cfg(test)]
mod assembler_tests;
mod drain;
mod slots;
mod worker;

use crate::probe::ProbeError;
use crate::record::Record;

pub use assembler::{Assembler, Event, GapReason, for_log};
pub use drain::{Drain, DrainOptions, Fill, OnFill, ReadCounters, Sink, Stats};

/// One entry of the ring: a record, or a piece of one ([`migrate_common::record::Kind::Piece`]).
pub type RawEntry = Record;

/// What a sink gets: entries of one container in the ring's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub entries: Vec<RawEntry>,
    /// Every record numbered below this is among the entries up to here, or lost.
    pub drained_below: Option<u64>,
}

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
