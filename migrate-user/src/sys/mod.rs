//! System calls that no library has.
pub mod arp;
pub mod inet_checksum;
pub mod packet_socket;
pub mod raw_tcp;
pub mod sock_diag;
pub mod enter_netns;
pub mod kcmp;
pub mod pidfd;
pub mod ptrace;
pub mod sockopt;
pub mod tcp_repair;
pub mod auxv;
pub mod cgroup;
pub mod personality;
pub mod affinity;
pub mod bpf_ring;
pub mod membarrier;
