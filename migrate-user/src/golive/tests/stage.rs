//! A client and two hosts on a bridge. Both hosts have one address, as source and replica do.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::holder::Holder;
use crate::golive::{ReleaseReport, RestoreReport, Restored, Snapshot, capture, restore};
use crate::sys::{arp, enter_netns};

pub(super) const CLIENT_V4: &str = "10.99.0.1";
pub(super) const SERVER_V4: &str = "10.99.0.2";
pub(super) const SERVER_V6: &str = "fd00:99::2";
const MAC: arp::Mac = [2, 0x42, 10, 99, 0, 2];
const MAC_TEXT: &str = "02:42:0a:63:00:02";

/// A network namespace that lives as long as the file.
pub(super) fn new_namespace() -> io::Result<File> {
    std::thread::spawn(|| {
        // SAFETY: unshare has no memory arguments, and this thread ends right after.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        File::open("/proc/thread-self/ns/net")
    })
    .join()
    .unwrap()
}

pub(super) struct Stage {
    pub(super) client: File,
    pub(super) source: File,
    pub(super) target: File,
}

impl Stage {
    /// The source is connected, the target muted.
    pub(super) fn new() -> Self {
        let [client, source, target] = [(); 3].map(|()| new_namespace().unwrap());
        let path = |ns: &File| format!("/proc/{}/fd/{}", std::process::id(), ns.as_raw_fd());
        run(&client, "ip link set lo up");
        run(&client, "ip link add br0 type bridge");
        run(&client, "ip link set br0 up");
        run(&client, &format!("ip addr add {CLIENT_V4}/24 dev br0"));
        run(&client, "ip addr add fd00:99::1/64 dev br0 nodad");
        for (host, port) in [(&source, "source"), (&target, "target")] {
            run(&client, &format!("ip link add {port} type veth peer name eth0 netns {}", path(host)));
            run(&client, &format!("ip link set {port} master br0 up"));
            run(host, "ip link set lo up");
            run(host, &format!("ip link set eth0 address {MAC_TEXT}"));
            run(host, &format!("ip addr add {SERVER_V4}/24 dev eth0"));
            run(host, &format!("ip addr add {SERVER_V6}/64 dev eth0 nodad"));
            run(host, "ip link set eth0 up");
        }
        // A port starts to forward some time after its link is up, and would do so in spite of the mute.
        for port in ["source", "target"] {
            while !run(&client, &format!("bridge link show dev {port}")).contains("state forwarding") {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let stage = Self { client, source, target };
        stage.mute("target");
        stage
    }

    /// Drops what goes in or out of a host.
    pub(super) fn mute(&self, port: &str) {
        run(&self.client, &format!("bridge link set dev {port} state 0"));
    }

    /// Lets it through again, and tells the client where the address is.
    pub(super) fn unmute(&self, port: &str) {
        run(&self.client, &format!("bridge link set dev {port} state 3"));
        let host = if port == "source" { &self.source } else { &self.target };
        arp::announce(host, "eth0", MAC, &[SERVER_V4, SERVER_V6].map(|ip| ip.parse::<IpAddr>().unwrap())).unwrap();
    }

    pub(super) fn listen(&self, host: &File, address: &str) -> TcpListener {
        let address: SocketAddr = address.parse().unwrap();
        enter_netns::within(host, || TcpListener::bind(address)).unwrap().unwrap()
    }

    /// A connection: the client's end and the server's, from a listener in the source.
    pub(super) fn connect(&self, listener: &TcpListener, to: &str) -> (TcpStream, TcpStream) {
        let port = listener.local_addr().unwrap().port();
        let address = SocketAddr::new(to.parse().unwrap(), port);
        let client = enter_netns::within(&self.client, || TcpStream::connect_timeout(&address, Duration::from_secs(5)));
        let client = client.unwrap().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server)
    }

    /// What the replay engine makes in place of an accepted connection.
    pub(super) fn stand_in(&self, v6: bool) -> OwnedFd {
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let make = || socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        enter_netns::within(&self.target, make).unwrap().unwrap()
    }

    /// Moves connections, the source being muted: each server's end gives way to a stand-in, which is returned connected and released.
    pub(super) fn move_connections(&self, servers: Vec<TcpStream>, v6: bool) -> (Vec<TcpStream>, Moved) {
        let source = Holder::new(Some(&self.source), &numbered(&servers));
        let stand_ins: Vec<OwnedFd> = servers.iter().map(|_| self.stand_in(v6)).collect();
        let target = Holder::new(Some(&self.target), &numbered(&stand_ins));
        let start = std::time::Instant::now();
        let snapshot = capture(&[super::task(&source)]).unwrap();
        let captured = start.elapsed();
        let packed = postcard::to_stdvec(&snapshot).unwrap();
        let snapshot: Snapshot = postcard::from_bytes(&packed).unwrap();
        let start = std::time::Instant::now();
        let mut restored: Restored = restore(&[super::task(&target)], &snapshot).unwrap();
        let filled = start.elapsed();
        drop((source, servers));
        self.unmute("target");
        let start = std::time::Instant::now();
        let released = restored.release();
        let moved = Moved { snapshot, report: restored.report.clone(), released, times: [captured, filled, start.elapsed()] };
        assert_eq!(moved.released.failures, Vec::<String>::new());
        assert_eq!(moved.report.warnings, Vec::<String>::new());
        let streams = stand_ins.into_iter().map(TcpStream::from).collect::<Vec<_>>();
        for stream in &streams {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        (streams, moved)
    }
}

pub(super) struct Moved {
    pub(super) snapshot: Snapshot,
    pub(super) report: RestoreReport,
    pub(super) released: ReleaseReport,
    /// Of capture, restore and release.
    pub(super) times: [Duration; 3],
}

/// Descriptors under the numbers from 3 on.
pub(super) fn numbered<F: AsRawFd>(list: &[F]) -> Vec<(&dyn AsRawFd, i32)> {
    list.iter().zip(3..).map(|(fd, number)| (fd as &dyn AsRawFd, number)).collect()
}

pub(super) fn run(ns: &File, command: &str) -> String {
    let mut words = command.split(' ');
    let mut command_line = Command::new(words.next().unwrap());
    command_line.args(words);
    let output = enter_netns::within(ns.as_fd(), || command_line.output()).unwrap().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
