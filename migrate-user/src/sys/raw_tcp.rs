//! TCP segments made by hand and sent through a raw socket.
//!
//! To a local address a segment arrives as if it came from the wire (over `lo`, so filters on other interfaces do not see it);
//! to any other it leaves by the routing table.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::enter_netns;
use super::inet_checksum::{Checksum, pseudo_header};

const IPPROTO_TCP: u8 = 6;
const HOP_LIMIT: u8 = 64;

/// Header bits.
pub mod flags {
    pub const FIN: u8 = 0x01;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// One segment. `source` and `destination` are of one family; IPv4-mapped addresses are IPv4 by now.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// As on the wire: already shifted by the scale.
    pub window: u16,
    /// The timestamp option's value and echo.
    pub timestamps: Option<(u32, u32)>,
    pub payload: &'a [u8],
}

impl Segment<'_> {
    /// The whole IP packet. The kernel fills in an IPv4 header's checksum and identification.
    #[must_use]
    pub fn to_packet(&self) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(32 + self.payload.len());
        let header_words: u8 = if self.timestamps.is_some() { 8 } else { 5 };
        tcp.extend_from_slice(&self.source.port().to_be_bytes());
        tcp.extend_from_slice(&self.destination.port().to_be_bytes());
        tcp.extend_from_slice(&self.seq.to_be_bytes());
        tcp.extend_from_slice(&self.ack.to_be_bytes());
        tcp.extend_from_slice(&[header_words << 4, self.flags]);
        tcp.extend_from_slice(&self.window.to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        if let Some((value, echo)) = self.timestamps {
            // Two no-operations keep the option's words aligned.
            tcp.extend_from_slice(&[1, 1, 8, 10]);
            tcp.extend_from_slice(&value.to_be_bytes());
            tcp.extend_from_slice(&echo.to_be_bytes());
        }
        tcp.extend_from_slice(self.payload);
        let mut sum = Checksum::default();
        pseudo_header(&mut sum, self.source.ip(), self.destination.ip(), IPPROTO_TCP, tcp.len());
        sum.add(&tcp);
        tcp[16..18].copy_from_slice(&sum.finish());

        let mut packet = Vec::with_capacity(40 + tcp.len());
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                packet.extend_from_slice(&[0x45, 0]);
                packet.extend_from_slice(&((20 + tcp.len()) as u16).to_be_bytes());
                packet.extend_from_slice(&[0, 0, 0x40, 0, HOP_LIMIT, IPPROTO_TCP, 0, 0]);
                packet.extend_from_slice(&source.octets());
                packet.extend_from_slice(&destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                packet.extend_from_slice(&[0x60, 0, 0, 0]);
                packet.extend_from_slice(&(tcp.len() as u16).to_be_bytes());
                packet.extend_from_slice(&[IPPROTO_TCP, HOP_LIMIT]);
                packet.extend_from_slice(&source.octets());
                packet.extend_from_slice(&destination.octets());
            }
            _ => unreachable!("the pseudo header refused two families"),
        }
        packet.extend_from_slice(&tcp);
        packet
    }
}

/// Raw sockets of one network namespace. IPv6 is absent where the kernel has none.
#[derive(Debug)]
pub struct RawTcp {
    v4: OwnedFd,
    v6: Option<OwnedFd>,
}

impl RawTcp {
    /// Opens them in the namespace `ns`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, and as [`enter_netns::within`].
    pub fn open_in(ns: impl AsFd) -> io::Result<Self> {
        enter_netns::within(ns, || Ok(Self { v4: raw_socket(libc::AF_INET)?, v6: raw_socket(libc::AF_INET6).ok() }))?
    }

    /// Sends one segment.
    ///
    /// # Errors
    /// What sendto(2) says: `ENETUNREACH` without a route, `EMSGSIZE` above the interface's size.
    pub fn send(&self, segment: &Segment<'_>) -> io::Result<()> {
        self.send_packet(&segment.to_packet())
    }

    /// Sends one whole IP packet, to the destination that its header names.
    ///
    /// # Errors
    /// As [`RawTcp::send`]; `InvalidInput` if it is no IP packet.
    pub fn send_packet(&self, packet: &[u8]) -> io::Result<()> {
        match packet {
            [first, ..] if first >> 4 == 4 && packet.len() >= 20 => {
                // SAFETY: all zeros is a valid sockaddr_in.
                let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
                to.sin_family = libc::AF_INET as u16;
                to.sin_addr.s_addr = u32::from_ne_bytes([packet[16], packet[17], packet[18], packet[19]]);
                send_to(&self.v4, packet, &to)
            }
            [first, ..] if first >> 4 == 6 && packet.len() >= 40 => {
                let v6 = self.v6.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
                // SAFETY: all zeros is a valid sockaddr_in6.
                let mut to: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
                to.sin6_family = libc::AF_INET6 as u16;
                to.sin6_addr.s6_addr.copy_from_slice(&packet[24..40]);
                send_to(v6, packet, &to)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// `IPPROTO_RAW` means that the caller writes the IP header and that nothing is received.
fn raw_socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket has no memory arguments.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send_to<A>(fd: &OwnedFd, packet: &[u8], to: &A) -> io::Result<()> {
    // SAFETY: the kernel reads `packet.len()` bytes from `packet` and a whole address from `to`.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            libc::MSG_DONTWAIT,
            std::ptr::from_ref(to).cast(),
            size_of::<A>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segments_checksum_covers_header_options_and_an_odd_payload() {
        let segment = Segment {
            source: "10.0.0.1:80".parse().unwrap(),
            destination: "10.0.0.2:4000".parse().unwrap(),
            seq: 1,
            ack: 2,
            flags: flags::ACK | flags::PSH,
            window: 500,
            timestamps: Some((7, 8)),
            payload: b"odd",
        };
        let packet = segment.to_packet();
        assert_eq!(packet.len(), 20 + 32 + 3);
        let mut sum = Checksum::default();
        pseudo_header(&mut sum, segment.source.ip(), segment.destination.ip(), IPPROTO_TCP, 35);
        sum.add(&packet[20..]);
        // A sum over data that contains its own checksum is zero.
        assert_eq!(sum.finish(), [0, 0]);
    }
}
