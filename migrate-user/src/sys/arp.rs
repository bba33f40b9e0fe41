//! Tells switches and neighbours that an address lives here now: gratuitous ARP (RFC 5227) and unsolicited
//! neighbour advertisement (RFC 4861, 7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use super::enter_netns;
use super::inet_checksum::{Checksum, pseudo_header};
use super::packet_socket::PacketSocket;

/// A hardware address.
pub type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

#[derive(Clone, Copy)]
enum Operation {
    Request = 1,
    Reply = 2,
}

/// Announces that each of `addresses` is at `mac`, out of `interface` in the network namespace `ns`.
///
/// IPv4 goes out as a request and as a reply, because some neighbours update their tables by one only.
///
/// # Errors
/// `ENODEV` without the interface, `ENETDOWN` while it is down, `EPERM` without `CAP_NET_RAW`.
pub fn announce(ns: impl AsFd, interface: &str, mac: Mac, addresses: &[IpAddr]) -> io::Result<()> {
    let socket = enter_netns::within(ns, || PacketSocket::open(interface, 0))??;
    for address in addresses {
        match address {
            IpAddr::V4(ip) => {
                socket.send(&arp_frame(Operation::Request, mac, *ip))?;
                socket.send(&arp_frame(Operation::Reply, mac, *ip))?;
            }
            IpAddr::V6(ip) => socket.send(&advertisement_frame(mac, *ip))?,
        }
    }
    Ok(())
}

fn arp_frame(operation: Operation, mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let asked_hardware = match operation {
        Operation::Request => [0; 6],
        Operation::Reply => BROADCAST,
    };
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&BROADCAST);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ETHERTYPE_ARP);
    // Ethernet, IPv4, 6-byte and 4-byte addresses.
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation as u8]);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ip.octets());
    frame.extend_from_slice(&asked_hardware);
    frame.extend_from_slice(&ip.octets());
    frame
}

fn advertisement_frame(mac: Mac, ip: Ipv6Addr) -> Vec<u8> {
    // Neighbour advertisement, "override" set, with the target link-layer address option.
    let mut icmp = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    icmp.extend_from_slice(&ip.octets());
    icmp.extend_from_slice(&[2, 1]);
    icmp.extend_from_slice(&mac);
    let mut sum = Checksum::default();
    pseudo_header(&mut sum, ip.into(), ALL_NODES.into(), ICMPV6, icmp.len());
    sum.add(&icmp);
    icmp[2..4].copy_from_slice(&sum.finish());

    let mut frame = Vec::with_capacity(86);
    frame.extend_from_slice(&ALL_NODES_MAC);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ETHERTYPE_IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&(icmp.len() as u16).to_be_bytes());
    // Receivers drop an advertisement that crossed a router: the hop limit must be 255.
    frame.extend_from_slice(&[ICMPV6, 255]);
    frame.extend_from_slice(&ip.octets());
    frame.extend_from_slice(&ALL_NODES.octets());
    frame.extend_from_slice(&icmp);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0x42, 10, 77, 0, 9];

    #[test]
    fn a_gratuitous_arp_names_its_own_address_as_sender_and_as_target() {
        for (operation, code) in [(Operation::Request, 1), (Operation::Reply, 2)] {
            let frame = arp_frame(operation, MAC, Ipv4Addr::new(10, 77, 0, 9));
            assert_eq!(frame.len(), 42);
            assert_eq!((&frame[..6], &frame[6..12], frame[21]), (&[0xff; 6][..], &MAC[..], code));
            assert_eq!((&frame[28..32], &frame[38..42]), (&[10, 77, 0, 9][..], &[10, 77, 0, 9][..]));
        }
    }

    #[test]
    fn a_neighbour_advertisements_checksum_is_right() {
        let ip: Ipv6Addr = "fd00::9".parse().unwrap();
        let frame = advertisement_frame(MAC, ip);
        let mut sum = Checksum::default();
        pseudo_header(&mut sum, ip.into(), ALL_NODES.into(), ICMPV6, 32);
        sum.add(&frame[54..]);
        // A sum over data that contains its own checksum is zero.
        assert_eq!(sum.finish(), [0, 0]);
    }
}
