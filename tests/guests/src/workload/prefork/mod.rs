//! A parent and eight children: jobs go down pipes, answers come back by unix sockets, signals report (SIGUSR1), stop (SIGTERM)
//! and tell of ends (SIGCHLD). Children end after some jobs, when they are told to, and by SIGKILL; each is replaced.
//!
//! The parent keeps a mirror of each child's state and checks every answer against it, so a child that lost or repeated anything is
//! found at its next answer. It prints `job N DIGEST` in ascending order, none missing or twice, about 100 a second; the digest
//! chains all answers so far. Most of the time everybody waits.

mod child;
mod message;
mod parent;

pub use parent::prefork;
