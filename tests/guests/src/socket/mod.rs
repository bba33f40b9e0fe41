//! Sockets: TCP and UDP over loopback, unix sockets, messages, netlink.

mod address;

pub use address::{accept, loopback, pair, tcp_listen, tcp_pair};

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Socket, run }
}

pub const GUESTS: &[Guest] = &[
];
