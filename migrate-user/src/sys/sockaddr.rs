//! Addresses of internet sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{getpeername, getsockname};

/// The local address; `None` for another family.
///
/// # Errors
/// What getsockname(2) says.
pub fn local(fd: impl AsFd) -> io::Result<Option<SocketAddr>> {
    Ok(SocketAddr::try_from(getsockname(fd)?).ok())
}

/// The peer's address; `None` without one.
///
/// # Errors
/// What getpeername(2) says, other than that there is no peer.
pub fn peer(fd: impl AsFd) -> io::Result<Option<SocketAddr>> {
    match getpeername(fd) {
        Ok(address) => Ok(address.and_then(|address| SocketAddr::try_from(address).ok())),
        Err(Errno::NOTCONN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// As it is on the wire: an IPv4-mapped IPv6 address is IPv4 there.
#[must_use]
pub fn on_wire(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(address, |ip| SocketAddr::new(ip.into(), address.port())),
        IpAddr::V4(_) => address,
    }
}
