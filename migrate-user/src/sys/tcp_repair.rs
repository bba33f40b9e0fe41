//! `TCP_REPAIR`: read and build a connection's state without a packet (Linux 3.5; the window since 4.8).
//!
//! In repair mode the kernel answers packets as ever but sends nothing for what user space does; a socket that is closed in
//! it vanishes without FIN or RST. Turning it on or off loses `SO_REUSEADDR`: see `tcp_repair_off` in net/ipv4/tcp.c.

use std::io;
use std::os::fd::AsFd;

use bytemuck::{Pod, Zeroable};

use super::sockopt;

const TCP_REPAIR_ON: i32 = 1;
const TCP_REPAIR_OFF: i32 = 0;
const TCP_REPAIR_OFF_NO_WP: i32 = -1;
const TCP_REPAIR_WINDOW: i32 = 29;
const TCPOPT_MAXSEG: u32 = 2;
const TCPOPT_WINDOW: u32 = 3;
const TCPOPT_SACK_PERM: u32 = 4;
const TCPOPT_TIMESTAMP: u32 = 8;
/// Unacknowledged and unsent bytes (`SIOCOUTQ`), a FIN counted as one.
const SIOCOUTQ: libc::c_ulong = 0x5411;
/// Unsent bytes (`SIOCOUTQNSD`), a FIN counted as one.
const SIOCOUTQNSD: libc::c_ulong = 0x894B;

/// Which queue the calls on sequence numbers and data mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    None = 0,
    Receive = 1,
    Send = 2,
}

/// `struct tcp_repair_window` of linux/tcp.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Window {
    pub snd_wl1: u32,
    pub snd_wnd: u32,
    pub max_window: u32,
    pub rcv_wnd: u32,
    pub rcv_wup: u32,
}

/// What the two sides agreed on in their SYNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    pub mss: u32,
    /// Shifts for the windows sent to us and by us, when both sides scale.
    pub scales: Option<(u8, u8)>,
    pub sack: bool,
    pub timestamps: bool,
}

/// `struct tcp_repair_opt` of linux/tcp.h.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RepairOpt {
    code: u32,
    value: u32,
}

/// Enters repair mode.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the socket's network or on a listening socket.
pub fn on(fd: impl AsFd) -> io::Result<()> {
    sockopt::set(fd, libc::IPPROTO_TCP, libc::TCP_REPAIR, &TCP_REPAIR_ON)
}

/// Leaves repair mode and sends a window probe, which tells peer and switches where the connection lives now.
///
/// # Errors
/// As [`on`].
pub fn off(fd: impl AsFd) -> io::Result<()> {
    sockopt::set(fd, libc::IPPROTO_TCP, libc::TCP_REPAIR, &TCP_REPAIR_OFF)
}

/// Leaves repair mode without a packet (Linux 4.18).
///
/// # Errors
/// As [`on`].
pub fn off_silently(fd: impl AsFd) -> io::Result<()> {
    sockopt::set(fd, libc::IPPROTO_TCP, libc::TCP_REPAIR, &TCP_REPAIR_OFF_NO_WP)
}

/// Is the socket in repair mode?
///
/// # Errors
/// What getsockopt(2) says.
pub fn is_on(fd: impl AsFd) -> io::Result<bool> {
    Ok(sockopt::get::<i32>(fd, libc::IPPROTO_TCP, libc::TCP_REPAIR)? == TCP_REPAIR_ON)
}

/// Chooses the queue that sequence numbers, `send` and `recv(MSG_PEEK)` mean.
///
/// # Errors
/// `EPERM` outside of repair mode.
pub fn select_queue(fd: impl AsFd, queue: Queue) -> io::Result<()> {
    sockopt::set(fd, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, &(queue as i32))
}

/// The selected queue's sequence number: the next one expected (`rcv_nxt`) or to be written (`write_seq`).
///
/// # Errors
/// `EINVAL` without a selected queue.
pub fn queue_seq(fd: impl AsFd) -> io::Result<u32> {
    sockopt::get(fd, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ)
}

/// Sets it, before the socket is connected.
///
/// # Errors
/// `EPERM` once connected.
pub fn set_queue_seq(fd: impl AsFd, seq: u32) -> io::Result<()> {
    sockopt::set(fd, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ, &seq)
}

/// The windows, in bytes and sequence numbers.
///
/// # Errors
/// `EPERM` outside of repair mode.
pub fn window(fd: impl AsFd) -> io::Result<Window> {
    sockopt::get(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW)
}

/// Sets the windows, after the queues are filled.
///
/// # Errors
/// `EINVAL` if they contradict the socket's sequence numbers.
pub fn set_window(fd: impl AsFd, window: &Window) -> io::Result<()> {
    sockopt::set(fd, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, window)
}

/// Sets what the SYNs would have agreed on: after connect, before data.
///
/// # Errors
/// `EPERM` before connect or after data, `EFBIG` for a scale above 14.
pub fn set_negotiated(fd: impl AsFd, options: &Negotiated) -> io::Result<()> {
    let mut list = Vec::with_capacity(4);
    if options.sack {
        list.push(RepairOpt { code: TCPOPT_SACK_PERM, value: 0 });
    }
    if let Some((send, receive)) = options.scales {
        list.push(RepairOpt { code: TCPOPT_WINDOW, value: u32::from(send) | u32::from(receive) << 16 });
    }
    if options.timestamps {
        list.push(RepairOpt { code: TCPOPT_TIMESTAMP, value: 0 });
    }
    list.push(RepairOpt { code: TCPOPT_MAXSEG, value: options.mss });
    sockopt::set_bytes(fd, libc::IPPROTO_TCP, libc::TCP_REPAIR_OPTIONS, bytemuck::cast_slice(&list))
}

/// The connection's timestamp clock, in its own unit; the lowest bit says microseconds (Linux 6.7) or milliseconds.
///
/// # Errors
/// What getsockopt(2) says.
pub fn timestamp(fd: impl AsFd) -> io::Result<u32> {
    sockopt::get(fd, libc::IPPROTO_TCP, libc::TCP_TIMESTAMP)
}

/// Sets the timestamp clock.
///
/// # Errors
/// `EPERM` outside of repair mode.
pub fn set_timestamp(fd: impl AsFd, value: u32) -> io::Result<()> {
    sockopt::set(fd, libc::IPPROTO_TCP, libc::TCP_TIMESTAMP, &value)
}

/// The segment size agreed on with the peer; only repair mode shows it.
///
/// # Errors
/// What getsockopt(2) says.
pub fn mss_clamp(fd: impl AsFd) -> io::Result<u32> {
    sockopt::get(fd, libc::IPPROTO_TCP, libc::TCP_MAXSEG)
}

/// Bytes that wait to be read, a FIN not counted.
///
/// # Errors
/// What ioctl(2) says.
pub fn unread(fd: impl AsFd) -> io::Result<u32> {
    sockopt::ioctl_int(fd, libc::FIONREAD)
}

/// Sequence numbers not acknowledged by the peer, a FIN counted as one.
///
/// # Errors
/// What ioctl(2) says.
pub fn unacknowledged(fd: impl AsFd) -> io::Result<u32> {
    sockopt::ioctl_int(fd, SIOCOUTQ)
}

/// Sequence numbers not sent yet, a FIN counted as one.
///
/// # Errors
/// What ioctl(2) says.
pub fn unsent(fd: impl AsFd) -> io::Result<u32> {
    sockopt::ioctl_int(fd, SIOCOUTQNSD)
}
