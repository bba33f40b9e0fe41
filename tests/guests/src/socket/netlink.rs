//! Netlink: how programs ask for interfaces, addresses and routes.

use crate::kit::plain::socklen;
use crate::kit::{Chain, Result, fd, zero};

/// Dumps of links, addresses and routes: every message has our number, loopback is among the links, and the dump ends.
pub fn dump(chain: &mut Chain) -> Result {
    let socket = sys!(socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE))?;
    let mut address: libc::sockaddr_nl = zero();
    address.nl_family = libc::AF_NETLINK as u16;
    let mut size = socklen::<libc::sockaddr_nl>();
    sys!(bind(socket, (&raw const address).cast(), size))?;
    sys!(getsockname(socket, (&raw mut address).cast(), &raw mut size))?;
    chain.num(address.nl_pid);
    for (number, kind) in [libc::RTM_GETLINK, libc::RTM_GETADDR, libc::RTM_GETROUTE].into_iter().enumerate() {
        let sequence = 100 + number as u32;
        let mut request = Vec::from(32u32.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
        request.extend(sequence.to_ne_bytes());
        request.resize(32, 0);
        fd::write_all(socket, &request)?;
        let (mut messages, mut loopback, mut done) = (0, false, false);
        while !done {
            let mut buffer = vec![0; 65_536];
            let got = fd::read(socket, &mut buffer)?;
            let mut at = 0;
            while at + 16 <= got {
                let word = |from: usize| u32::from_ne_bytes(buffer[at + from..at + from + 4].try_into().expect("4 bytes"));
                let (len, sort) = (word(0) as usize, word(4) & 0xffff);
                check_eq!((word(8), word(12)), (sequence, address.nl_pid), "sequence and port");
                check!(sort != libc::NLMSG_ERROR as u32, "an error instead of a dump of {kind}");
                chain.bytes(&buffer[at..at + len]);
                done |= sort == libc::NLMSG_DONE as u32;
                messages += 1;
                loopback |= buffer[at..at + len].windows(3).any(|part| part == b"lo\0");
                at += len.next_multiple_of(4);
            }
        }
        check!(kind != libc::RTM_GETLINK || loopback, "no loopback among the links");
        check!(kind == libc::RTM_GETROUTE || messages > 1, "an empty dump of {kind}");
    }
    fd::close(socket)
}
