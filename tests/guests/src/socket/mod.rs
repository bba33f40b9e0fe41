//! Sockets: TCP and UDP over loopback, unix sockets, messages, netlink.

pub mod address;
pub mod ancillary;
mod many;
mod messages;
mod netlink;
mod options;
mod tcp;
mod udp;
mod unix;

pub use address::{pair, tcp_pair};

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Socket, run }
}

pub const GUESTS: &[Guest] = &[
    guest("tcp_one_process", tcp::one_process),
    guest("tcp_two_processes", tcp::two_processes),
    guest("tcp_nonblocking", tcp::nonblocking),
    guest("tcp_shutdown", tcp::shutdown),
    guest("tcp_reset", tcp::reset),
    guest("tcp_large", tcp::large),
    guest("tcp_many", many::many),
    guest("tcp_prefork_accept", many::prefork_accept),
    guest("udp", udp::udp),
    guest("udp_connected", udp::connected),
    guest("unix_stream", unix::stream),
    guest("unix_dgram", unix::datagram),
    guest("unix_seqpacket", unix::seqpacket),
    guest("unix_abstract", unix::abstract_names),
    guest("socketpair", unix::pairs),
    guest("scm_rights", ancillary::rights),
    guest("scm_rights_chain", ancillary::relay),
    guest("scm_credentials", ancillary::credentials),
    guest("msg_flags", messages::flags),
    guest("sendmsg_recvmsg", messages::scattered),
    guest("sendmmsg_recvmmsg", messages::many),
    guest("sockopt", options::sockopt),
    guest("socket_ioctl", options::ioctl),
    guest("socket_names", options::names),
    guest("netlink_dump", netlink::dump),
];
