//! The neighbour table: which hardware address an IP address has on a link.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::arp::Mac;
use super::enter_netns;
use super::netlink::{Netlink, attributes, prefix, push_attribute};

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_PERMANENT: u16 = 0x80;
const KNOWN: u16 = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;

/// A known neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub ip: IpAddr,
    pub mac: Mac,
}

/// `struct ndmsg` of linux/neighbour.h.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Message {
    family: u8,
    pad1: u8,
    pad2: u16,
    interface: i32,
    state: u16,
    flags: u8,
    kind: u8,
}

fn open(ns: impl AsFd, interface: &str) -> io::Result<(Netlink, i32)> {
    enter_netns::within(ns, || {
        let index = nix::net::if_::if_nametoindex(interface)?;
        Ok((Netlink::open(libc::NETLINK_ROUTE)?, index as i32))
    })?
}

/// The neighbours known on `interface` in the network namespace `ns`.
///
/// # Errors
/// `ENODEV` without the interface.
pub fn known(ns: impl AsFd, interface: &str) -> io::Result<Vec<Neighbour>> {
    let (netlink, index) = open(ns, interface)?;
    let mut neighbours = Vec::new();
    netlink.list(libc::RTM_GETNEIGH, bytemuck::bytes_of(&Message::zeroed()), |body| {
        let message: Message = prefix(body)?;
        if message.interface != index || message.state & KNOWN == 0 {
            return Ok(());
        }
        let (mut ip, mut mac) = (None, None);
        for (number, value) in attributes(&body[size_of::<Message>()..]) {
            match (number, value.len()) {
                (NDA_DST, 4) => ip = value.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
                (NDA_DST, 16) => ip = value.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
                (NDA_LLADDR, 6) => mac = value.first_chunk::<6>().copied(),
                _ => {}
            }
        }
        neighbours.extend(ip.zip(mac).map(|(ip, mac)| Neighbour { ip, mac }));
        Ok(())
    })?;
    Ok(neighbours)
}

/// Makes neighbours known on `interface` in the namespace `ns`, to be used at once and checked by the kernel soon after. Sends nothing.
/// One that is known already keeps what the kernel found.
///
/// # Errors
/// `ENODEV` without the interface, `EPERM` without `CAP_NET_ADMIN`.
pub fn introduce(ns: impl AsFd, interface: &str, neighbours: &[Neighbour]) -> io::Result<()> {
    let (netlink, index) = open(ns, interface)?;
    for neighbour in neighbours {
        let family = if neighbour.ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let message = Message { family: family as u8, interface: index, state: NUD_STALE, ..Message::zeroed() };
        let mut body = bytemuck::bytes_of(&message).to_vec();
        match neighbour.ip {
            IpAddr::V4(ip) => push_attribute(&mut body, NDA_DST, &ip.octets()),
            IpAddr::V6(ip) => push_attribute(&mut body, NDA_DST, &ip.octets()),
        }
        push_attribute(&mut body, NDA_LLADDR, &neighbour.mac);
        match netlink.change(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
