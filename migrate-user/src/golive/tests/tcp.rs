use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::privileged;
use super::stage::{CLIENT_V4, SERVER_V4, SERVER_V6, Stage, numbered};
use crate::golive::tcp::TcpSocketState;
use crate::golive::{self, CaptureError, FileState};
use crate::sys::{sockaddr, sockopt, tcp_repair};

/// Bytes whose every position is recognisable.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + at / 251 + seed * 7) % 256) as u8).collect()
}

/// Writes as much as goes without waiting; returns how much.
fn stuff(stream: &TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match (&*stream).write(&bytes[sent..]) {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

fn read_exactly(mut stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A short exchange in both directions.
fn talk(client: &TcpStream, server: &TcpStream) {
    let mut client = client;
    let mut server = server;
    client.write_all(b"question").unwrap();
    assert_eq!(read_exactly(server, 8), b"question");
    server.write_all(b"answer").unwrap();
    assert_eq!(read_exactly(client, 6), b"answer");
}

fn connections(stage: &Stage, count: usize, listen: &str, to: &str) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = stage.listen(&stage.source, listen);
    (0..count).map(|_| stage.connect(&listener, to)).unzip()
}

/// Unread, in flight, and unsent bytes in both directions on every connection.
fn busy_move(count: usize, listen: &str, to: &str, v6: bool) {
    let stage = Stage::new();
    let (clients, servers) = connections(&stage, count, listen, to);
    for (client, server) in clients.iter().zip(&servers) {
        talk(client, server);
    }
    // More than the buffers take, so that some stays unsent behind a full window.
    let sizes = |index: usize| [0, 10, 3_000, 100_000, 8_000_000][index % 5];
    let to_client: Vec<usize> =
        servers.iter().enumerate().map(|(index, server)| stuff(server, &pattern(index, sizes(index)))).collect();
    let to_server: Vec<usize> =
        clients.iter().enumerate().map(|(index, client)| stuff(client, &pattern(index + 1, sizes(index + 2)))).collect();
    stage.mute("source");
    // What is written now is lost on the way.
    for (index, (server, client)) in servers.iter().zip(&clients).enumerate() {
        if index % 5 < 3 {
            (&*server).write_all(b"lost on the way to the client").unwrap();
        }
        if index % 5 < 2 {
            (&*client).write_all(b"lost on the way to the server").unwrap();
        }
    }
    let (servers, moved) = stage.move_connections(servers, v6);
    let start = Instant::now();
    assert_eq!(moved.report.connections, count);
    assert!(moved.report.unread_bytes > 0 && moved.report.in_flight_bytes > 0 && moved.report.unsent_bytes > 0);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let readers: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(index, client)| {
                let len = to_client[index];
                scope.spawn(move || {
                    assert!(read_exactly(client, len) == pattern(index, sizes(index))[..len], "bytes to client {index}");
                    if index % 5 < 3 {
                        assert_eq!(read_exactly(client, 29), b"lost on the way to the client");
                    }
                    start.elapsed()
                })
            })
            .collect();
        for (index, server) in servers.iter().enumerate() {
            let len = to_server[index];
            assert!(read_exactly(server, len) == pattern(index + 1, sizes(index + 2))[..len], "bytes to server {index}");
            if index % 5 < 2 {
                assert_eq!(read_exactly(server, 29), b"lost on the way to the server");
            }
        }
        slowest = readers.into_iter().map(|reader| reader.join().unwrap()).max().unwrap_or_default();
    });
    println!(
        "{count} connections: last byte at a client {slowest:?} after release; {:?}; capture, restore, release {:?}",
        moved.report, moved.times
    );
    for (client, server) in clients.iter().zip(&servers) {
        talk(client, server);
    }
}

#[test]
fn clients_go_on_with_unread_unacknowledged_and_unsent_bytes_in_both_directions() {
    if privileged("clients_go_on") {
        busy_move(20, &format!("{SERVER_V4}:80"), SERVER_V4, false);
    }
}

#[test]
fn clients_go_on_over_ipv6() {
    if privileged("clients_go_on_over_ipv6") {
        busy_move(5, &format!("[{SERVER_V6}]:80"), SERVER_V6, true);
    }
}

#[test]
fn clients_go_on_with_an_ipv6_socket_that_speaks_ipv4() {
    if privileged("clients_go_on_with_an_ipv6_socket_that_speaks_ipv4") {
        busy_move(5, "[::]:80", SERVER_V4, true);
    }
}

#[test]
fn idle_connections_move_by_the_hundred_and_by_the_thousand() {
    if !privileged("idle_connections_move") {
        return;
    }
    for count in [1, 100, 1000] {
        let stage = Stage::new();
        let (clients, servers) = connections(&stage, count, &format!("{SERVER_V4}:80"), SERVER_V4);
        stage.mute("source");
        let (servers, moved) = stage.move_connections(servers, false);
        let start = Instant::now();
        for (client, server) in clients.iter().zip(&servers) {
            talk(client, server);
        }
        println!("{count} idle connections: capture, restore, release {:?}; all talked in {:?}", moved.times, start.elapsed());
    }
}

#[test]
fn an_answer_lost_while_the_network_was_muted_arrives_without_a_time_out() {
    if !privileged("an_answer_lost") {
        return;
    }
    // One small answer, and one of several segments: the first has no later segment that would tell of its loss.
    for len in [100, 20_000, 60_000] {
        let stage = Stage::new();
        let (clients, servers) = connections(&stage, 1, &format!("{SERVER_V4}:80"), SERVER_V4);
        // Opens the congestion window.
        for _ in 0..8 {
            (&servers[0]).write_all(&pattern(0, 60_000)).unwrap();
            read_exactly(&clients[0], 60_000);
        }
        stage.mute("source");
        (&servers[0]).write_all(&pattern(9, len)).unwrap();
        let (servers, moved) = stage.move_connections(servers, false);
        let start = Instant::now();
        assert!(read_exactly(&clients[0], len) == pattern(9, len));
        let took = start.elapsed();
        println!("{len} lost bytes arrived {took:?} after release ({} segments again)", moved.released.segments_again);
        assert_eq!(moved.report.in_flight_bytes, len);
        talk(&clients[0], &servers[0]);
    }
}

#[test]
fn an_aborted_capture_leaves_the_source_as_it_was() {
    if !privileged("an_aborted_capture") {
        return;
    }
    let stage = Stage::new();
    let (clients, servers) = connections(&stage, 10, &format!("{SERVER_V4}:80"), SERVER_V4);
    for (index, (client, server)) in clients.iter().zip(&servers).enumerate() {
        sockopt::set(server, libc::SOL_SOCKET, libc::SO_REUSEADDR, &i32::from(index % 2 == 0)).unwrap();
        stuff(server, &pattern(index, 50_000));
        stuff(client, &pattern(index, 30_000));
        sockopt::set(server, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &(index as i32 * 3 - 1)).unwrap();
    }
    stage.mute("source");
    for server in &servers {
        (&*server).write_all(b"lost").unwrap();
    }
    let holder = super::Holder::new(Some(&stage.source), &numbered(&servers));
    let first = golive::capture(&[super::task(&holder)]).unwrap();
    let second = golive::capture(&[super::task(&holder)]).unwrap();
    assert_eq!(strip_clocks(first), strip_clocks(second), "capturing is not a change");
    drop(holder);
    for (index, server) in servers.iter().enumerate() {
        assert!(!tcp_repair::is_on(server).unwrap());
        let option = |name| sockopt::get::<i32>(server, libc::SOL_SOCKET, name).unwrap();
        assert_eq!(option(libc::SO_REUSEADDR), i32::from(index % 2 == 0));
        assert_eq!(option(libc::SO_PEEK_OFF), index as i32 * 3 - 1);
        sockopt::set(server, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &-1).unwrap();
    }
    stage.unmute("source");
    for (index, (client, server)) in clients.iter().zip(&servers).enumerate() {
        assert!(read_exactly(client, 50_000) == pattern(index, 50_000));
        assert_eq!(read_exactly(client, 4), b"lost");
        assert!(read_exactly(server, 30_000) == pattern(index, 30_000));
        talk(client, server);
    }
}

/// Without what moves with time.
fn strip_clocks(mut snapshot: golive::Snapshot) -> golive::Snapshot {
    snapshot.clocks = golive::Clocks::default();
    for file in &mut snapshot.files {
        if let FileState::Tcp(socket) = &mut file.state
            && let TcpSocketState::Connected(connection) = &mut socket.state
        {
            connection.timestamp = connection.timestamp.map(|_| 0);
        }
    }
    snapshot
}

#[test]
fn a_dropped_restore_sends_nothing_and_the_source_goes_on() {
    if !privileged("a_dropped_restore") {
        return;
    }
    let stage = Stage::new();
    let (clients, servers) = connections(&stage, 3, &format!("{SERVER_V4}:80"), SERVER_V4);
    stuff(&servers[0], &pattern(0, 50_000));
    let source = super::Holder::new(Some(&stage.source), &numbered(&servers));
    let stand_ins: Vec<_> = servers.iter().map(|_| stage.stand_in(false)).collect();
    let target = super::Holder::new(Some(&stage.target), &numbered(&stand_ins));
    let snapshot = super::capture(&[&source]);
    let restored = golive::restore(&[super::task(&target)], &snapshot).unwrap();
    // The target is heard: what it says now would reach the client.
    stage.unmute("target");
    drop((restored, target, stand_ins));
    // That was all. What the bridge brings it from now on, which may take the address for the target's, it would refuse.
    stage.mute("target");
    stage.unmute("source");
    drop(source);
    assert!(read_exactly(&clients[0], 50_000) == pattern(0, 50_000));
    for (client, server) in clients.iter().zip(&servers) {
        // The source first, so that the bridge finds it again.
        talk(server, client);
        talk(client, server);
    }
}

#[test]
fn a_listening_socket_takes_connections_and_keeps_its_options_and_the_unaccepted_are_counted() {
    if !privileged("a_listening_socket") {
        return;
    }
    let stage = Stage::new();
    let address = format!("{SERVER_V4}:80");
    let listener = stage.listen(&stage.source, &address);
    sockopt::set(&listener, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &0).unwrap();
    sockopt::set(&listener, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1).unwrap();
    sockopt::set(&listener, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &4321).unwrap();
    rustix::net::listen(&listener, 77).unwrap();
    let waiting = crate::sys::enter_netns::within(&stage.client, || TcpStream::connect(&address)).unwrap().unwrap();
    let source = super::Holder::new(Some(&stage.source), &numbered(std::slice::from_ref(&listener)));
    let replica = stage.listen(&stage.target, &address);
    let target = super::Holder::new(Some(&stage.target), &numbered(std::slice::from_ref(&replica)));
    stage.mute("source");
    let snapshot = super::capture(&[&source]);
    assert_eq!(snapshot.losses.unaccepted_connections, 1);
    let mut restored = golive::restore(&[super::task(&target)], &snapshot).unwrap();
    drop((source, listener, waiting));
    stage.unmute("target");
    restored.release();
    assert_eq!(restored.report.listeners, 1);
    let option = |level, name| sockopt::get::<i32>(&replica, level, name).unwrap();
    assert_eq!(option(libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    assert_eq!(option(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT), 4321);
    let queues = crate::sys::sock_diag::accept_queue_lengths(&stage.target).unwrap();
    assert_eq!(queues.iter().map(|queue| queue.limit).collect::<Vec<_>>(), [77]);
    let (client, server) = stage.connect(&replica, SERVER_V4);
    talk(&client, &server);
}

#[test]
fn a_connection_with_both_ends_in_the_container_moves_with_what_is_queued() {
    if !privileged("a_connection_with_both_ends") {
        return;
    }
    let stage = Stage::new();
    for address in ["127.0.0.1", SERVER_V4] {
        let listener = stage.listen(&stage.source, &format!("{address}:6379"));
        let to = listener.local_addr().unwrap();
        let client = crate::sys::enter_netns::within(&stage.source, || TcpStream::connect(to)).unwrap().unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(listener);
        let sent = stuff(&client, &pattern(1, 9_000_000));
        (&server).write_all(&pattern(2, 1000)).unwrap();
        let source = super::Holder::new(Some(&stage.source), &numbered(&[client, server]));
        let ends = [stage.stand_in(false), stage.stand_in(false)];
        let target = super::Holder::new(Some(&stage.target), &numbered(&ends));
        let snapshot = super::capture(&[&source]);
        let mut restored = golive::restore(&[super::task(&target)], &snapshot).unwrap();
        assert!(restored.report.unread_bytes > 1000 && restored.report.unsent_bytes > 0, "{:?}", restored.report);
        assert_eq!(restored.release().failures, Vec::<String>::new());
        let [client, server] = ends.map(TcpStream::from);
        assert!(read_exactly(&server, sent) == pattern(1, 9_000_000)[..sent]);
        assert!(read_exactly(&client, 1000) == pattern(2, 1000));
        talk(&client, &server);
    }
}

#[test]
fn options_of_a_connection_move_with_it() {
    if !privileged("options_of_a_connection") {
        return;
    }
    let stage = Stage::new();
    let (clients, servers) = connections(&stage, 1, &format!("{SERVER_V4}:80"), SERVER_V4);
    let options = [
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 33),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 7),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 12_345),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::SOL_SOCKET, libc::SO_REUSEADDR, 1),
        (libc::IPPROTO_IP, libc::IP_TOS, 0x10),
        (libc::SOL_SOCKET, libc::SO_PRIORITY, 3),
    ];
    for (level, name, value) in options {
        sockopt::set(&servers[0], level, name, &value).unwrap();
    }
    let linger = sockopt::Linger { on: 1, seconds: 9 };
    sockopt::set(&servers[0], libc::SOL_SOCKET, libc::SO_LINGER, &linger).unwrap();
    let before = golive::options::Buffers::capture(servers[0].as_fd()).unwrap();
    stage.mute("source");
    let (servers, moved) = stage.move_connections(servers, false);
    for (level, name, value) in options {
        assert_eq!(sockopt::get::<i32>(&servers[0], level, name).unwrap(), value, "option {level}/{name}");
    }
    assert_eq!(sockopt::get::<sockopt::Linger>(&servers[0], libc::SOL_SOCKET, libc::SO_LINGER).unwrap(), linger);
    assert_eq!(golive::options::Buffers::capture(servers[0].as_fd()).unwrap(), before, "sizes, and free to be tuned");
    assert_eq!(sockaddr::peer(&servers[0]).unwrap(), Some(clients[0].local_addr().unwrap()));
    assert_eq!(clients[0].local_addr().unwrap().ip().to_string(), CLIENT_V4);
    assert_eq!(moved.snapshot.files.len(), 1);
    talk(&clients[0], &servers[0]);
}

#[test]
fn a_connection_that_is_being_made_asks_for_another_try() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    if !privileged("a_connection_that_is_being_made") {
        return;
    }
    let stage = Stage::new();
    stage.mute("source");
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let make = || socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let socket = crate::sys::enter_netns::within(&stage.source, make).unwrap().unwrap();
    let address: std::net::SocketAddr = format!("{CLIENT_V4}:80").parse().unwrap();
    assert!(connect(&socket, &address).is_err());
    let holder = super::Holder::new(Some(&stage.source), &numbered(std::slice::from_ref(&socket)));
    match golive::capture(&[super::task(&holder)]) {
        Err(CaptureError::Retry { why }) => assert!(why.contains("being made"), "{why}"),
        other => panic!("{other:?}"),
    }
}
