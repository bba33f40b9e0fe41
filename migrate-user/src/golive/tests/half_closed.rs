use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::stage::{SERVER_V4, Stage};
use super::{privileged, until};
use crate::golive::FileState;
use crate::golive::tcp::{OwnFin, TcpSocketState};
use crate::sys::{sockopt, tcp_repair};

fn pair(stage: &Stage) -> (TcpStream, TcpStream) {
    let listener = stage.listen(&stage.source, &format!("{SERVER_V4}:80"));
    stage.connect(&listener, SERVER_V4)
}

fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn kernel_state(stream: &TcpStream) -> u8 {
    sockopt::get::<[u8; 8]>(stream, libc::IPPROTO_TCP, libc::TCP_INFO).unwrap()[0]
}

const CLOSED: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const FIN_WAIT2: u8 = 5;

#[test]
fn a_client_that_has_finished_still_gets_its_answer() {
    if !privileged("a_client_that_has_finished") {
        return;
    }
    // Unread bytes before the end, the end not read, the end read.
    for (unread, read_end) in [(true, false), (false, false), (false, true)] {
        let stage = Stage::new();
        let (client, server) = pair(&stage);
        if unread {
            (&client).write_all(b"request").unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        until(|| kernel_state(&server) == CLOSE_WAIT);
        if read_end {
            assert_eq!(rest(&server), b"");
        }
        stage.mute("source");
        let (servers, _) = stage.move_connections(vec![server], false);
        assert_eq!(kernel_state(&servers[0]), CLOSE_WAIT);
        assert_eq!(rest(&servers[0]), if unread { &b"request"[..] } else { b"" });
        (&servers[0]).write_all(b"answer").unwrap();
        drop(servers);
        assert_eq!(rest(&client), b"answer");
    }
}

#[test]
fn our_fin_reaches_the_client_wherever_it_was() {
    if !privileged("our_fin_reaches_the_client") {
        return;
    }
    for wanted in [OwnFin::Waiting, OwnFin::Sent, OwnFin::Acknowledged] {
        let stage = Stage::new();
        let (client, server) = pair(&stage);
        let mut expected = b"answer".to_vec();
        (&server).write_all(b"answer").unwrap();
        until(|| tcp_repair::unacknowledged(&server).unwrap() == 0);
        match wanted {
            OwnFin::Acknowledged => {
                server.shutdown(Shutdown::Write).unwrap();
                until(|| kernel_state(&server) == FIN_WAIT2);
            }
            OwnFin::Sent => {
                stage.mute("source");
                (&server).write_all(b" in flight").unwrap();
                server.shutdown(Shutdown::Write).unwrap();
                expected.extend_from_slice(b" in flight");
            }
            // More than any window takes stays unsent, and the FIN behind it.
            _ => {
                let bytes = vec![7; 9_000_000];
                server.set_nonblocking(true).unwrap();
                while let Ok(sent) = (&server).write(&bytes) {
                    expected.extend_from_slice(&bytes[..sent]);
                }
                server.set_nonblocking(false).unwrap();
                server.shutdown(Shutdown::Write).unwrap();
            }
        }
        stage.mute("source");
        let (servers, moved) = stage.move_connections(vec![server], false);
        let FileState::Tcp(socket) = &moved.snapshot.files[0].state else { panic!("no TCP socket") };
        let TcpSocketState::Connected(connection) = &socket.state else { panic!("no connection") };
        assert_eq!(connection.own_fin, wanted);
        assert!(rest(&client) == expected, "bytes before the FIN, {wanted:?}");
        // The other direction is still open.
        (&client).write_all(b"thanks").unwrap();
        drop(client);
        assert_eq!(rest(&servers[0]), b"thanks");
    }
}

#[test]
fn a_connection_closed_by_the_client_and_then_by_us_ends_cleanly() {
    if !privileged("a_connection_closed_by_the_client") {
        return;
    }
    let stage = Stage::new();
    let (client, server) = pair(&stage);
    client.shutdown(Shutdown::Write).unwrap();
    until(|| kernel_state(&server) == CLOSE_WAIT);
    stage.mute("source");
    (&server).write_all(b"last words").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let (servers, _) = stage.move_connections(vec![server], false);
    assert_eq!(rest(&client), b"last words");
    assert_eq!(rest(&servers[0]), b"");
    until(|| kernel_state(&servers[0]) == CLOSED);
}

#[test]
fn a_reset_that_was_not_seen_yet_is_seen_after_the_move() {
    if !privileged("a_reset_that_was_not_seen_yet") {
        return;
    }
    for seen in [false, true] {
        let stage = Stage::new();
        let (client, server) = pair(&stage);
        (&client).write_all(b"last words").unwrap();
        until(|| tcp_repair::unread(&server).unwrap() == 10);
        // Closing with zero linger resets.
        sockopt::set(&client, libc::SOL_SOCKET, libc::SO_LINGER, &sockopt::Linger { on: 1, seconds: 0 }).unwrap();
        drop(client);
        until(|| kernel_state(&server) == CLOSED);
        if seen {
            assert!(server.take_error().unwrap().is_some());
        }
        stage.mute("source");
        let (servers, _) = stage.move_connections(vec![server], false);
        let mut server = &servers[0];
        let mut bytes = [0; 10];
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"last words");
        match server.read(&mut bytes) {
            Ok(0) => assert!(seen),
            Err(error) => assert!(!seen && error.kind() == std::io::ErrorKind::ConnectionReset, "{error}"),
            Ok(more) => panic!("{more} bytes after the last"),
        }
    }
}
