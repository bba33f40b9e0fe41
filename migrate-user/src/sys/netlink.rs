//! Netlink: requests to the kernel and its lists in return.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bytemuck::Pod;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel fills messages of up to 32 KB.
const BUFFER: usize = 64 * 1024;

/// A netlink socket. It asks about the network namespace that it was made in, wherever it is used.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one in the caller's namespace for `protocol` (`NETLINK_ROUTE`, …).
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn open(protocol: i32) -> io::Result<Self> {
        // SAFETY: socket has no memory arguments.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Asks for a list and hands the body of each entry to `each`.
    ///
    /// # Errors
    /// What the kernel answers, or `InvalidData` if the answer makes no sense.
    pub fn list(&self, kind: u16, body: &[u8], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.send(kind, libc::NLM_F_REQUEST | libc::NLM_F_DUMP, body)?;
        let mut buffer = vec![0; BUFFER];
        while self.receive(&mut buffer, &mut each)? {}
        Ok(())
    }

    /// Asks for a change and waits until it is made. `flags` come on top of `NLM_F_REQUEST` and `NLM_F_ACK`.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn change(&self, kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
        self.send(kind, libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags, body)?;
        let mut buffer = vec![0; 4096];
        while self.receive(&mut buffer, &mut |_| Ok(()))? {}
        Ok(())
    }

    fn send(&self, kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(flags as u16).to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(body);
        // SAFETY: the kernel reads `message.len()` bytes from `message`.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Handles one datagram of messages; says whether more is to come.
    fn receive(&self, buffer: &mut [u8], each: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`.
        let got = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        let mut rest = &buffer[..got];
        while rest.len() >= HEADER {
            let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = i32::from(u16::from_ne_bytes([rest[4], rest[5]]));
            let body = rest.get(HEADER..len).ok_or(io::ErrorKind::InvalidData)?;
            match kind {
                libc::NLMSG_DONE => return Ok(false),
                // Also the acknowledgement, with number 0.
                libc::NLMSG_ERROR => {
                    return match prefix::<i32>(body)? {
                        0 => Ok(false),
                        errno => Err(io::Error::from_raw_os_error(-errno)),
                    };
                }
                _ => each(body)?,
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(true)
    }
}

/// The structure that a message's body begins with.
///
/// # Errors
/// `InvalidData` if the body is shorter.
pub fn prefix<T: Pod>(body: &[u8]) -> io::Result<T> {
    Ok(bytemuck::pod_read_unaligned(body.get(..size_of::<T>()).ok_or(io::ErrorKind::InvalidData)?))
}

/// The attributes behind that structure: number and value.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d, ..] = *rest else { return None };
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]), value))
    })
}

/// Appends an attribute to a message's body.
pub fn push_attribute(body: &mut Vec<u8>, number: u16, value: &[u8]) {
    body.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    body.extend_from_slice(&number.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written_and_a_cut_one_ends_the_list() {
        let mut body = Vec::new();
        push_attribute(&mut body, 1, b"odd");
        push_attribute(&mut body, 2, &[]);
        let all: Vec<_> = attributes(&body).collect();
        assert_eq!(all, [(1, &b"odd"[..]), (2, &[])]);
        assert_eq!(attributes(&body[..6]).count(), 0);
    }
}
