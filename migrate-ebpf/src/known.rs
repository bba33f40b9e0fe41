//! What one CPU has found out and all use: read for each record, written seldom.

use crate::clock::Tick;

/// The value of the map.
#[repr(C)]
pub struct Known {
    /// The tick that records were last made in.
    pub tick: Tick,
    /// Addresses of operations, by [`Operations`]; 0 before something has been seen that has them.
    pub operations: [u64; 3],
}

/// Whose operations they are.
#[derive(Clone, Copy)]
pub enum Operations {
    /// The kernel's `socket_file_ops`, which files of sockets have and nothing else.
    SocketFile,
    /// Those of stream sockets of IPv4 and of IPv6.
    StreamV4,
    StreamV6,
}
