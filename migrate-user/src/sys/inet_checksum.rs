//! The internet checksum (RFC 1071).

use std::net::IpAddr;

/// A running sum. Each added piece but the last must have an even length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// Adds bytes, the first one in the upper half of its word.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut pairs = bytes.chunks_exact(2);
        for pair in &mut pairs {
            self.0 += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        if let [last] = pairs.remainder() {
            self.0 += u64::from(*last) << 8;
        }
    }

    /// The checksum, in network order.
    #[must_use]
    pub fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }
}

/// Adds the pseudo header that TCP and ICMPv6 protect: addresses, protocol, length of what follows.
///
/// # Panics
/// If the addresses are not of one family.
pub fn pseudo_header(sum: &mut Checksum, source: IpAddr, destination: IpAddr, protocol: u8, len: usize) {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum.add(&source.octets());
            sum.add(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            sum.add(&source.octets());
            sum.add(&destination.octets());
        }
        _ => panic!("addresses of two families in one packet"),
    }
    sum.add(&[0, protocol]);
    sum.add(&(len as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_the_rfcs_example_is_the_rfcs() {
        let mut sum = Checksum::default();
        sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), (!0xddf2_u16).to_be_bytes());
    }
}
