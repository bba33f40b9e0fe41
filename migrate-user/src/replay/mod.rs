//! Feeds a log to a replica.
//!
//! The [`Engine`] takes records in the log's order and moves one task at a time: a task runs from call to call, and at each call
//! the record says what it returned and what it wrote. Calls that make the replica's own state (files of its root, memory,
//! descriptors, tasks) are executed and must give the same result; what comes from outside is written from the log.
//! [`backend`] is the seam between the two halves: the engine knows the log, a backend moves tasks.

pub mod backend;
mod calls;
pub mod ends;
mod engine;
mod error;
pub mod last_pid;
pub mod listen;
pub mod live;
pub mod point;
pub mod ptrace;
pub mod replica;
mod scratch;
pub mod screen;
mod turns;
pub mod wait;

pub use calls::timer::{ArmedTimer, Now, TimerId};
pub use engine::Engine;
pub use error::{Desync, ReplayError, Result, Short};
