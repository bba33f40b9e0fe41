//! Making connections.

use std::ptr::null_mut;

use crate::kit::plain::socklen;
use crate::kit::{Result, zero};

/// 127.0.0.1 and a port.
pub fn loopback(port: u16) -> libc::sockaddr_in {
    let mut address: libc::sockaddr_in = zero();
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    address
}

/// A pair of connected unix sockets.
pub fn pair(kind: i32) -> Result<(i32, i32)> {
    let mut ends = [0; 2];
    sys!(socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()))?;
    Ok((ends[0], ends[1]))
}

/// The port that a socket is bound to.
pub fn port_of(socket: i32) -> Result<u16> {
    let mut address: libc::sockaddr_in = zero();
    let mut len = socklen::<libc::sockaddr_in>();
    sys!(getsockname(socket, (&raw mut address).cast(), &raw mut len))?;
    check_eq!(len, socklen::<libc::sockaddr_in>(), "length of the address");
    Ok(u16::from_be(address.sin_port))
}

/// A socket that listens on loopback, and its port, which the kernel chose.
pub fn tcp_listen(flags: i32, backlog: i32) -> Result<(i32, u16)> {
    let socket = sys!(socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags, 0))?;
    let address = loopback(0);
    sys!(bind(socket, (&raw const address).cast(), socklen::<libc::sockaddr_in>()))?;
    sys!(listen(socket, backlog))?;
    Ok((socket, port_of(socket)?))
}

/// Connects to a port on loopback.
pub fn tcp_connect(port: u16) -> Result<i32> {
    let socket = sys!(socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
    let address = loopback(port);
    sys!(connect(socket, (&raw const address).cast(), socklen::<libc::sockaddr_in>()))?;
    Ok(socket)
}

/// Accepts a connection; gives the peer's port.
pub fn accept(listener: i32, flags: i32) -> Result<(i32, u16)> {
    let mut address: libc::sockaddr_in = zero();
    let mut len = socklen::<libc::sockaddr_in>();
    let socket = sys!(accept4(listener, (&raw mut address).cast(), &raw mut len, flags | libc::SOCK_CLOEXEC))?;
    check_eq!(address.sin_addr.s_addr, loopback(0).sin_addr.s_addr, "the peer's address");
    Ok((socket, u16::from_be(address.sin_port)))
}

/// Both ends of a TCP connection over loopback.
pub fn tcp_pair() -> Result<(i32, i32)> {
    let (listener, port) = tcp_listen(0, 1)?;
    let near = tcp_connect(port)?;
    let far = sys!(accept4(listener, null_mut(), null_mut(), libc::SOCK_CLOEXEC))?;
    sys!(close(listener))?;
    Ok((near, far))
}
