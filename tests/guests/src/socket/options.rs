//! Options, requests and names of sockets.

use super::address::{loopback, pair, tcp_connect, tcp_listen, tcp_pair};
use crate::kit::clock::{MS_NS, monotonic, timeval};
use crate::kit::plain::socklen;
use crate::kit::{Chain, Result, fd, zero};

fn get(socket: i32, level: i32, option: i32) -> Result<i32> {
    let (mut value, mut len) = (-1i32, 4);
    sys!(getsockopt(socket, level, option, (&raw mut value).cast(), &raw mut len))?;
    check_eq!(len, 4, "length of option {option}");
    Ok(value)
}

fn set(socket: i32, level: i32, option: i32, value: i32) -> Result {
    sys!(setsockopt(socket, level, option, (&raw const value).cast(), 4)).map(drop)
}

/// Options read as they were set; buffers are doubled, kinds and states are told; a receive timeout ends a read.
pub fn sockopt(chain: &mut Chain) -> Result {
    let (near, far) = tcp_pair()?;
    let base = libc::SOL_SOCKET;
    for (level, option) in [
        (base, libc::SO_REUSEADDR),
        (base, libc::SO_REUSEPORT),
        (base, libc::SO_KEEPALIVE),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        (libc::IPPROTO_TCP, libc::TCP_CORK),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK),
    ] {
        set(near, level, option, 0)?;
        check_eq!(get(near, level, option)?, 0, "option {option} off");
        set(near, level, option, 1)?;
        check!(get(near, level, option)? != 0, "option {option} is not on");
    }
    set(near, libc::IPPROTO_TCP, libc::TCP_CORK, 0)?;
    for (option, value) in
        [(libc::TCP_KEEPIDLE, 33), (libc::TCP_KEEPINTVL, 7), (libc::TCP_KEEPCNT, 5), (libc::TCP_USER_TIMEOUT, 4321)]
    {
        set(near, libc::IPPROTO_TCP, option, value)?;
        check_eq!(get(near, libc::IPPROTO_TCP, option)?, value, "option {option}");
    }
    set(near, base, libc::SO_RCVBUF, 20_000)?;
    check_eq!(get(near, base, libc::SO_RCVBUF)?, 40_000, "a buffer's size");
    check_eq!((get(near, base, libc::SO_TYPE)?, get(near, base, libc::SO_DOMAIN)?), (libc::SOCK_STREAM, libc::AF_INET), "kind");
    check_eq!((get(near, base, libc::SO_ACCEPTCONN)?, get(near, base, libc::SO_ERROR)?), (0, 0), "state");
    for option in [libc::SO_SNDBUF, libc::SO_PROTOCOL, libc::SO_PRIORITY] {
        chain.num(get(far, base, option)?);
    }
    chain.num(get(far, libc::IPPROTO_TCP, libc::TCP_MAXSEG)?);
    let mut info = [0u8; 104];
    let mut len = 104;
    sys!(getsockopt(far, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len))?;
    check_eq!((len, info[0]), (104, 1), "state of an established connection");
    chain.bytes(&info);
    let wait = timeval(8_000);
    sys!(setsockopt(near, base, libc::SO_RCVTIMEO, (&raw const wait).cast(), socklen::<libc::timeval>()))?;
    let before = monotonic()?;
    fails!(EAGAIN, read(near, [0u8; 4].as_mut_ptr().cast(), 4))?;
    check!(monotonic()? - before >= 7 * MS_NS, "the read ended early");
    chain.num(monotonic()? - before);
    fails!(ENOPROTOOPT, getsockopt(near, base, 7777, info.as_mut_ptr().cast(), &raw mut len))?;
    fd::close_all(&[near, far])
}

/// Requests: bytes queued and unsent, and what the loopback interface is.
pub fn ioctl(chain: &mut Chain) -> Result {
    let (near, far) = pair(libc::SOCK_STREAM)?;
    fd::write_all(far, &chain.data(123))?;
    let mut count = 0i32;
    sys!(ioctl(near, libc::FIONREAD, &raw mut count))?;
    check_eq!(count, 123, "bytes queued");
    sys!(ioctl(far, libc::TIOCOUTQ, &raw mut count))?;
    check!(count >= 123, "{count} bytes not yet read");
    chain.num(count);
    let udp = sys!(socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
    let mut request: libc::ifreq = zero();
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    sys!(ioctl(udp, libc::SIOCGIFFLAGS, &raw mut request))?;
    // SAFETY: the request was filled by the call that this field belongs to.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    check!(flags & libc::IFF_LOOPBACK != 0 && flags & libc::IFF_UP != 0, "flags {flags:#x} of lo");
    chain.num(flags);
    for name in [libc::SIOCGIFINDEX, libc::SIOCGIFMTU] {
        sys!(ioctl(udp, name, &raw mut request))?;
        // SAFETY: an integer, whichever of the two was asked for.
        chain.num(unsafe { request.ifr_ifru.ifru_ifindex });
    }
    fd::close_all(&[near, far, udp])
}

/// Names of both ends, addresses in use, and a listener that takes no more than it was told to.
pub fn names(chain: &mut Chain) -> Result {
    let (listener, port) = tcp_listen(0, 4)?;
    let other = sys!(socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
    let address = loopback(port);
    let size = socklen::<libc::sockaddr_in>();
    fails!(EADDRINUSE, bind(other, (&raw const address).cast(), size))?;
    fails!(ENOTCONN, getpeername(other, [0u64; 4].as_mut_ptr().cast(), [16u32].as_mut_ptr()))?;
    fails!(EINVAL, accept(other, std::ptr::null_mut(), std::ptr::null_mut()))?;
    check_eq!(get(listener, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)?, 1, "a listener");
    let clients = (0..4).map(|_| tcp_connect(port)).collect::<Result<Vec<_>>>()?;
    for &client in &clients {
        // Less room than the address has: it is cut, and its length told.
        let (mut short, mut len) = ([0u8; 4], 4);
        sys!(getpeername(client, short.as_mut_ptr().cast(), &raw mut len))?;
        check_eq!((len, &short[2..]), (size, &port.to_be_bytes()[..]), "a cut name");
        chain.num(super::address::port_of(client)?);
    }
    fails!(EAFNOSUPPORT, socket(99, libc::SOCK_STREAM, 0))?;
    chain.num(port);
    fd::close_all(&clients)?;
    fd::close_all(&[listener, other])
}
