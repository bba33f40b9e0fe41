//! Clients that check every answer. They run in the client's network namespace as a program of their own, `lab-client`.
//!
//! The program speaks lines of JSON on standard output ([`Event`]) and takes words on standard input ([`Order`]). It ends with a
//! report when told to stop or when standard input ends. Only [`run_throughput`] is different: it takes no orders and prints one line.

mod book;
mod control;
mod http;
mod ledger;
mod redis;
mod remote;
mod tally;
mod throughput;
mod web;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use book::{BookOptions, run as run_book};
pub use control::{Control, say};
pub use http::wait_listening;
pub use ledger::{LedgerOptions, run as run_ledger};
pub use redis::{RedisOptions, run as run_redis};
pub use remote::{Remote, RemoteError, arguments};
pub use tally::Report;
pub use throughput::{Throughput, ThroughputError, ThroughputOptions, run as run_throughput};
pub use web::{WebOptions, run as run_web};

/// What a client tells while it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Every connection has had its first correct answer.
    Ready,
    /// Every connection that is still there has had a correct answer since the last mark.
    Served,
    /// The last line.
    Report(Box<Report>),
}

/// What a client is told while it runs: one word a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Count from here; say [`Event::Served`] when every connection was answered.
    Mark,
    /// Finish what is under way, check, report.
    Stop,
}

/// What all clients are told at the start.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    pub server: SocketAddr,
    /// A request that takes longer has failed.
    pub timeout: std::time::Duration,
}
