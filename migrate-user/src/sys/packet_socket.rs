//! Raw frames on one interface (`AF_PACKET`): out, and in ahead of every filter.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::sockopt;

/// Frames of every protocol, as in linux/if_ether.h.
pub const ETH_P_ALL: u16 = 0x0003;

/// One received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// In bytes, also of a frame that was longer than the buffer.
    pub len: usize,
    /// Not one that this host sent.
    pub incoming: bool,
    /// The kernel vouches for the payload: its checksum was verified, or never computed because it did not cross a wire.
    pub trusted: bool,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens one in the caller's network namespace on `interface`. It receives frames of the Ethernet type `protocol`; with 0 none.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` if there is no such interface.
    pub fn open(interface: &str, protocol: u16) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        // Protocol 0 first: a socket made with one would receive from every interface until it is bound.
        // SAFETY: socket has no memory arguments.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and belongs to nobody else.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        sockopt::set(&socket.0, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol.to_be(),
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address is a whole sockaddr_ll and its length is given.
        let status =
            unsafe { libc::bind(fd, std::ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t) };
        if status == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends one frame, Ethernet header included.
    ///
    /// # Errors
    /// What send(2) says: `ENETDOWN`, `EMSGSIZE`.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads `frame.len()` bytes from `frame`.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Lets up to `bytes` wait to be received, above any limit.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`.
    pub fn set_queue_bytes(&self, bytes: i32) -> io::Result<()> {
        sockopt::set(&self.0, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(bytes / 2))
    }

    /// Frames that came and did not fit into the queue since the last call.
    ///
    /// # Errors
    /// What getsockopt(2) says.
    pub fn take_lost(&self) -> io::Result<u32> {
        // `struct tpacket_stats`: frames seen, frames dropped.
        let [_, dropped]: [u32; 2] = sockopt::get(&self.0, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        Ok(dropped)
    }

    /// Receives one frame without waiting; `None` if there is none.
    ///
    /// # Errors
    /// What recvmsg(2) says.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Frame>> {
        // SAFETY: all zeros is a valid sockaddr_ll and a valid msghdr.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
        let mut control = [0u64; 8];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_name = std::ptr::from_mut(&mut from).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` is to memory of the given length that lives until the call returns.
        let got = unsafe { libc::recvmsg(self.0.as_raw_fd(), &mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC) };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        // SAFETY: the kernel filled `control` and set its length; the macros walk no further.
        let status = unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            if !header.is_null() && (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                std::ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>()).tp_status
            } else {
                0
            }
        };
        Ok(Some(Frame {
            len: got as usize,
            incoming: from.sll_pkttype != libc::PACKET_OUTGOING,
            trusted: status & (libc::TP_STATUS_CSUMNOTREADY | libc::TP_STATUS_CSUM_VALID) != 0,
        }))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
