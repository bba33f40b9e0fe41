//! What can go wrong in a replay.

use super::backend::BackendError;
use migrate_common::record::{Header, Kind};
use migrate_common::syscalls;
use std::collections::VecDeque;
use std::fmt;

/// Why a replay ended before its log.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The replica did something else than the log says.
    #[error(transparent)]
    Desync(#[from] Box<Desync>),
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The source did what a replica cannot follow.
    #[error("{call} by task {tid} cannot be replayed: {why}")]
    Unsupported { tid: u32, call: String, why: String },
    /// Tasks wait for something that no record brings.
    #[error("{} records of task {tid} wait for an event that the log does not bring, first: {first}", count)]
    Stuck { tid: u32, count: usize, first: String },
}

/// Result of a replay step.
pub type Result<T> = std::result::Result<T, ReplayError>;

/// The replica asked for something that the log does not say next.
#[derive(Debug)]
pub struct Desync {
    /// The record that did not fit.
    pub record: Header,
    /// What the log and the replica say.
    pub expected: String,
    pub found: String,
    /// The records before it, oldest first.
    pub before: Vec<Header>,
}

impl std::error::Error for Desync {}

impl fmt::Display for Desync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the replica left the log at record {}: {}", self.record.seq, Short(&self.record))?;
        writeln!(f, "  the log says:     {}", self.expected)?;
        write!(f, "  the replica says: {}", self.found)?;
        if !self.before.is_empty() {
            write!(f, "\n  records before it:")?;
        }
        for head in &self.before {
            write!(f, "\n    {:>8}  {}", head.seq, Short(head))?;
        }
        Ok(())
    }
}

/// A record on one line.
#[derive(Debug)]
pub struct Short<'a>(pub &'a Header);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { tid, nr, ret, args, .. } = *self.0;
        match Kind::from_u8(self.0.kind) {
            Some(Kind::Syscall) => {
                let name = syscalls::row(nr).map_or("?", |row| row.name);
                let [a, b, c, d, ..] = args;
                write!(f, "task {tid}: {name}({a:#x}, {b:#x}, {c:#x}, {d:#x}) = {ret}")
            }
            Some(Kind::Fork) => write!(f, "task {tid}: makes task {}", args[0]),
            Some(Kind::Exec) => write!(f, "task {tid}: enters a new image"),
            Some(Kind::Image) => write!(f, "task {tid}: image with its stack at {:#x}", args[0]),
            Some(Kind::Exit) => write!(f, "task {tid}: ends with {:#x}", args[0]),
            Some(Kind::Signal) => write!(f, "task {tid}: gets signal {nr}, handler {:#x}, at {:#x}", args[0], args[3]),
            Some(Kind::Switch) => write!(f, "task {tid}: is switched out at {:#x}", args[0]),
            Some(Kind::Resume) => write!(f, "task {tid}: runs again"),
            Some(Kind::Clocks) => write!(f, "task {tid}: clock readings {} to {}", args[0], args[1]),
            Some(Kind::Piece) | None => write!(f, "task {tid}: kind {}", self.0.kind),
        }
    }
}

/// The last records, for a desync's report.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Header>);

impl Recent {
    const KEPT: usize = 12;

    pub(super) fn push(&mut self, head: Header) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(head);
    }

    pub(super) fn desync(&self, record: &Header, expected: String, found: String) -> ReplayError {
        let before = self.0.iter().filter(|head| head.seq < record.seq).copied().collect();
        ReplayError::Desync(Box::new(Desync { record: *record, expected, found, before }))
    }
}
