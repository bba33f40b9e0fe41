//! What one CPU has found out and all use: read for each record, written seldom.

use crate::clock::Tick;

/// The value of the map.
#[repr(C)]
pub struct Known {
    /// The tick that records were last made in.
    pub tick: Tick,
    /// The address of the kernel's `socket_file_ops`; 0 before a socket has been looked at.
    pub socket_operations: u64,
    /// Those of stream sockets of IPv4 and of IPv6; 0 before one has been looked at.
    pub stream_operations: [u64; 2],
}
