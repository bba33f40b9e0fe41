//! Packets that arrive while the container is muted.
//!
//! To the network a mute is loss: a request that falls into it comes again when its sender's timer says so, 200 ms later or more, and a new
//! connection after a second. But the packets do arrive at the source, they are only not let through. Caught there by a
//! packet socket, which sits before every filter, shipped, and delivered to the replica after its release, they are as if they had
//! been a little slow. That goes on until the target has the address: the last ones follow when it is live. Delivering one twice, or one that its sender repeats, is what TCP is made for.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use super::Bytes;
use crate::sys::enter_netns;
use crate::sys::inet_checksum::{Checksum, pseudo_header};
use crate::sys::packet_socket::{ETH_P_ALL, PacketSocket};
use crate::sys::raw_tcp::RawTcp;

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// With segments merged on reception.
const LARGEST_FRAME: usize = ETHERNET + (1 << 16);
/// What a gigabit brings in 100 ms, and the kernel's bookkeeping.
const QUEUE_BYTES: i32 = 32 << 20;

/// Which packets are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// New connections are kept out, everything else still reaches the source.
    Openings,
    /// Nothing reaches the source.
    Everything,
}

/// Catches TCP segments and UDP datagrams that come to one interface.
#[derive(Debug)]
pub struct Stragglers {
    socket: PacketSocket,
    wanted: Wanted,
    caught: Vec<Bytes>,
}

impl Stragglers {
    /// Begins to catch on `interface` in the network namespace `ns`: at first only requests for new connections. To be called right before
    /// those are kept out.
    ///
    /// # Errors
    /// `ENODEV` without the interface, `EPERM` without `CAP_NET_RAW`.
    pub fn catch_openings(ns: impl AsFd, interface: &str) -> io::Result<Self> {
        let socket = enter_netns::within(ns, || PacketSocket::open(interface, ETH_P_ALL))??;
        socket.set_queue_bytes(QUEUE_BYTES)?;
        Ok(Self { socket, wanted: Wanted::Openings, caught: Vec::new() })
    }

    /// Catches everything from now on. To be called right before the network is muted: what comes in between reaches the source
    /// and the replica both, which TCP does not mind.
    ///
    /// # Errors
    /// A failing receive.
    pub fn catch_everything(&mut self) -> io::Result<()> {
        self.receive()?;
        self.wanted = Wanted::Everything;
        Ok(())
    }

    /// What was caught since the last call, as IP packets in order of arrival, and how many were lost because too many came.
    ///
    /// # Errors
    /// A failing receive.
    pub fn take(&mut self) -> io::Result<(Vec<Bytes>, u32)> {
        self.receive()?;
        Ok((std::mem::take(&mut self.caught), self.socket.take_lost()?))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; LARGEST_FRAME];
        while let Some(frame) = self.socket.receive(&mut buffer)? {
            if !frame.incoming || frame.len > buffer.len() {
                continue;
            }
            if let Some(packet) = packet_of(&mut buffer[..frame.len], self.wanted, frame.trusted) {
                self.caught.push(Bytes(packet.to_vec()));
            }
        }
        Ok(())
    }
}

/// Delivers caught packets to the namespace `ns`, which has their destination's address; returns how many were accepted.
///
/// They come in over the loopback interface, which must be up. What cannot be delivered is dropped, as a network may.
///
/// # Errors
/// As [`RawTcp::open_in`].
pub fn deliver(ns: impl AsFd, packets: &[Bytes]) -> io::Result<usize> {
    if packets.is_empty() {
        return Ok(0);
    }
    let raw = RawTcp::open_in(ns)?;
    Ok(packets.iter().filter(|packet| raw.send_packet(packet).is_ok()).count())
}

/// Where a packet's transport header is.
struct Layout {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Of the transport header and what follows, in the packet.
    transport: std::ops::Range<usize>,
}

fn layout(packet: &[u8]) -> Option<Layout> {
    let address4 = |at: usize| Some(IpAddr::from(*packet.get(at..at + 4)?.first_chunk::<4>()?));
    let address6 = |at: usize| Some(IpAddr::from(*packet.get(at..at + 16)?.first_chunk::<16>()?));
    let length = |at: usize| Some(usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
    match packet.first()? >> 4 {
        4 => {
            // Fragments are left to their sender: a part cannot be told from a whole by its header.
            let fragment = length(6)? & 0x3fff != 0;
            let header = usize::from(packet[0] & 15) * 4;
            let found = Layout {
                source: address4(12)?,
                destination: address4(16)?,
                protocol: *packet.get(9)?,
                transport: header..length(2)?,
            };
            (!fragment).then_some(found)
        }
        6 => Some(Layout {
            source: address6(8)?,
            destination: address6(24)?,
            protocol: *packet.get(6)?,
            transport: 40..40 + length(4)?,
        }),
        _ => None,
    }
}

/// The IP packet in a frame, if it is one to be caught, with a checksum that will be believed.
fn packet_of(frame: &mut [u8], wanted: Wanted, trusted: bool) -> Option<&[u8]> {
    let packet = frame.get_mut(ETHERNET..)?;
    let Layout { source, destination, protocol, transport } = layout(packet)?;
    // Frames are padded to a least length.
    let packet = packet.get_mut(..transport.end)?;
    let (header, checksum) = match protocol {
        TCP => (20, 16),
        UDP => (8, 6),
        _ => return None,
    };
    let (start, len) = (transport.start, transport.len());
    if len < header || destination.is_multicast() || packet[start..].len() != len {
        return None;
    }
    if wanted == Wanted::Openings && (protocol != TCP || packet[start + 13] & (SYN | ACK) != SYN) {
        return None;
    }
    if trusted {
        packet[start + checksum..start + checksum + 2].fill(0);
        let mut sum = Checksum::default();
        pseudo_header(&mut sum, source, destination, protocol, len);
        sum.add(&packet[start..]);
        packet[start + checksum..start + checksum + 2].copy_from_slice(&sum.finish());
    }
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::raw_tcp::{Segment, flags};

    fn frame(segment_flags: u8) -> Vec<u8> {
        let segment = Segment {
            source: "10.0.0.1:4000".parse().unwrap(),
            destination: "10.0.0.2:80".parse().unwrap(),
            seq: 1,
            ack: 2,
            flags: segment_flags,
            window: 3,
            timestamps: None,
            payload: b"",
        };
        [vec![0; ETHERNET], segment.to_packet(), vec![0; 6]].concat()
    }

    #[test]
    fn only_openings_are_wanted_before_the_mute() {
        let is_caught = |flags, wanted| packet_of(&mut frame(flags), wanted, false).is_some();
        assert!(is_caught(SYN, Wanted::Openings));
        assert!(!is_caught(SYN | ACK, Wanted::Openings));
        assert!(!is_caught(flags::ACK, Wanted::Openings));
        assert!(is_caught(flags::ACK, Wanted::Everything));
    }

    #[test]
    fn padding_is_cut_off_and_a_checksum_that_was_never_computed_is() {
        let right = frame(flags::ACK);
        let mut unfinished = right.clone();
        unfinished[ETHERNET + 20 + 16] ^= 0xff;
        let packet = packet_of(&mut unfinished, Wanted::Everything, true).unwrap();
        assert_eq!(packet, &right[ETHERNET..ETHERNET + 40]);
    }

    #[test]
    fn what_is_no_whole_packet_is_left_out() {
        let whole = frame(flags::ACK);
        for len in 0..ETHERNET + 40 {
            assert!(packet_of(&mut whole[..len].to_vec(), Wanted::Everything, true).is_none(), "{len} bytes");
        }
        let mut fragment = whole;
        fragment[ETHERNET + 6] = 0x20;
        assert!(packet_of(&mut fragment, Wanted::Everything, true).is_none());
    }
}
