//! The mute, on a pair of devices between two network namespaces of this test's own. Needs root and eBPF; without them the
//! test says that it was skipped.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use migrate::probe::{Mute, MuteMode, ProbeError};
use migrate::sys::enter_netns;

const SERVER: &str = "192.0.2.1";
const CLIENT: &str = "192.0.2.2";
/// Long enough for what passes; what does not is waited for as long.
const PATIENCE: Duration = Duration::from_millis(300);

/// A process that holds a network namespace.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let child = Command::new("unshare").args(["-n", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let namespace = Self(child);
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        while std::fs::read_link(format!("/proc/{}/ns/net", namespace.pid())).unwrap() == own {
            std::thread::yield_now();
        }
        namespace
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn ip(&self, arguments: &str) {
        let status = Command::new("nsenter")
            .args(["-t", &self.pid().to_string(), "-n", "ip"])
            .args(arguments.split(' '))
            .status()
            .unwrap();
        assert!(status.success(), "ip {arguments}");
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter_netns::within(enter_netns::of(self.pid()).unwrap(), work).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It can only have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container with `eth0`, and a client on the other end of it.
fn pair() -> (Namespace, Namespace) {
    let (server, client) = (Namespace::new(), Namespace::new());
    client.ip(&format!("link add eth0 type veth peer name eth0 netns {}", server.pid()));
    for (namespace, address) in [(&server, SERVER), (&client, CLIENT)] {
        namespace.ip(&format!("addr add {address}/24 dev eth0"));
        namespace.ip("link set eth0 up");
    }
    (server, client)
}

fn arrives(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b"x").unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    match to.read(&mut [0]) {
        Ok(n) => n == 1,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            false
        }
    }
}

#[test]
fn a_muted_container_is_silent_until_it_is_told_otherwise_whoever_comes_and_goes() {
    // SAFETY: geteuid has no arguments.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root");
        return;
    }
    let (container, client) = pair();
    let id = format!("mute-test-{}", std::process::id());
    let address: SocketAddr = format!("{SERVER}:80").parse().unwrap();
    let listener = container.within(|| TcpListener::bind(address)).unwrap();
    let connect = || client.within(|| TcpStream::connect_timeout(&address, PATIENCE));
    let mut here = connect().unwrap();
    let (mut there, _) = listener.accept().unwrap();

    let mut mute = Mute::attach(container.pid(), "eth0", &id, MuteMode::Silent).unwrap();
    assert_eq!(mute.mode().unwrap(), MuteMode::Silent);
    assert!(!arrives(&mut here, &mut there), "nothing comes in");
    assert!(!arrives(&mut there, &mut here), "nothing goes out");
    assert_eq!(connect().unwrap_err().kind(), ErrorKind::TimedOut);

    mute.set(MuteMode::NoNewConnections).unwrap();
    drop(mute);
    there.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    there.read_exact(&mut [0]).expect("what was kept back is sent again");
    assert!(arrives(&mut here, &mut there), "the connection goes on");
    assert_eq!(connect().unwrap_err().kind(), ErrorKind::TimedOut, "and there is no new one");

    let mut again = Mute::reopen(&id).unwrap();
    assert_eq!(again.mode().unwrap(), MuteMode::NoNewConnections);
    again.set(MuteMode::Pass).unwrap();
    connect().unwrap();

    let second = Mute::attach(container.pid(), "eth0", &id, MuteMode::Silent).unwrap();
    assert_eq!(again.mode().unwrap(), MuteMode::Silent, "attaching again changes the mode of the one there is");
    drop(again);
    second.detach(container.pid(), "eth0").unwrap();
    connect().unwrap();
    assert!(matches!(Mute::reopen(&id), Err(ProbeError::NoMute(_))));
    assert!(matches!(Mute::reopen("mute-test-never"), Err(ProbeError::NoMute(_))));
    for _ in 0..2 {
        let none = Mute::attach(container.pid(), "eth7", "mute-test-eth7", MuteMode::Pass);
        assert!(matches!(none, Err(ProbeError::Tc { .. })), "{none:?}: a try that failed leaves nothing to be found");
    }
}
