//! How many commands per second a Redis server answers to a client that costs less than the server does, so that the server is the
//! slower side: one thread for all connections, and for each command one write and one read. It takes no orders.
//!
//! It never sleeps: a server on the same machine would have to wake it with every answer that it waits for, with an interrupt to another
//! processor, and the slower the server is the more often. Clients on other machines cost a server nothing of the kind.

mod answer;
mod connection;
mod random;
mod request;

use std::{
    io,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use serde::{Deserialize, Serialize};

use super::Common;
use connection::Connection;
use request::{Kind, Requests};

#[derive(Debug, Clone, Copy)]
pub struct ThroughputOptions {
    pub common: Common,
    /// Connections, each with one command on its way.
    pub clients: usize,
    /// How long new commands are sent, once all connections stand.
    pub duration: Duration,
}

/// What was done. The time goes from the first request to the last answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    pub commands: u64,
    pub seconds: f64,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum ThroughputError {
    #[error("cannot connect ({0})")]
    Connect(io::Error),
    #[error("cannot wait for answers ({0})")]
    Wait(#[from] Errno),
    #[error("a connection was reset or closed ({0})")]
    Lost(io::Error),
    #[error("a socket took only a part of a request")]
    Cut,
    #[error("a {} was answered \"{said}\"", .kind.name())]
    Wrong { kind: Kind, said: String },
    #[error("the server sent \"{said}\", for which nobody asked")]
    Unasked { said: String },
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
}

/// Asks for as long as it is told, then waits for the answers that are still missing. The first that is not right ends it.
pub fn run(options: &ThroughputOptions) -> Result<Throughput, ThroughputError> {
    let Common { server, timeout } = options.common;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::with_capacity(options.clients);
    for index in 0..options.clients {
        let connection = Connection::open(server, timeout).map_err(ThroughputError::Connect)?;
        epoll.add(&connection, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        connections.push(connection);
    }
    let mut requests = Requests::new();
    let mut events = vec![EpollEvent::empty(); options.clients];
    let (mut commands, mut unanswered) = (0, options.clients);
    let began = Instant::now();
    for (index, connection) in connections.iter_mut().enumerate() {
        // The server has as many of the one as of the other at any time.
        let kind = if index % 2 == 0 { Kind::Set } else { Kind::Get };
        connection.ask(kind, requests.next(kind))?;
    }
    while unanswered > 0 {
        let ready = wait(&epoll, &mut events, timeout)?;
        let more = began.elapsed() < options.duration;
        for event in &events[..ready] {
            let connection = &mut connections[event.data() as usize];
            let Some(kind) = connection.receive()? else { continue };
            commands += 1;
            if more {
                connection.ask(kind.other(), requests.next(kind.other()))?;
            } else {
                unanswered -= 1;
            }
        }
    }
    Ok(Throughput { commands, seconds: began.elapsed().as_secs_f64() })
}

/// Looks until some connections have something to read. How many.
fn wait(epoll: &Epoll, events: &mut [EpollEvent], timeout: Duration) -> Result<usize, ThroughputError> {
    let mut until = None;
    loop {
        match epoll.wait(events, EpollTimeout::ZERO) {
            Ok(0) => {
                if Instant::now() > *until.get_or_insert_with(|| Instant::now() + timeout) {
                    return Err(ThroughputError::Silent(timeout));
                }
            }
            Err(Errno::EINTR) => {}
            ready => return Ok(ready?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpListener},
        thread,
    };

    use super::*;

    /// A server that tells SET and GET by how many words they have, and gives these answers to them in pieces.
    fn server(stored: &[&'static str], found: &[String]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stored: Vec<String> = stored.iter().map(|piece| (*piece).to_string()).collect();
        let found = found.to_vec();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (stored, found) = (stored.clone(), found.clone());
                thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = [0; 1024];
                    while let Ok(1..) = stream.read(&mut buffer) {
                        for piece in if buffer.starts_with(b"*3") { &stored } else { &found } {
                            if stream.write_all(piece.as_bytes()).is_err() {
                                return;
                            }
                            thread::sleep(Duration::from_micros(200));
                        }
                    }
                });
            }
        });
        address
    }

    fn ask(clients: usize, server: SocketAddr) -> Result<Throughput, ThroughputError> {
        let common = Common { server, timeout: Duration::from_millis(500) };
        run(&ThroughputOptions { common, clients, duration: Duration::from_millis(100) })
    }

    fn found() -> [String; 3] {
        let value = String::from_utf8(request::VALUE.to_vec()).unwrap();
        ["$20".into(), format!("0\r\n{}", &value[..50]), format!("{}\r\n", &value[50..])]
    }

    #[test]
    fn answers_in_pieces_are_counted_for_the_time_they_took() {
        for clients in [1, 5] {
            let done = ask(clients, server(&["+O", "K\r\n"], &found())).unwrap();
            assert!(done.commands > clients as u64 && done.seconds >= 0.1, "{done:?}");
        }
        assert!(ask(2, server(&["+OK\r\n"], &["$-1\r".into(), "\n".into()])).is_ok());
    }

    #[test]
    fn the_first_wrong_answer_ends_it() {
        let error = ask(2, server(&["-OOM no\r\n"], &found())).unwrap_err();
        assert_eq!(error.to_string(), "a SET was answered \"-OOM no\\r\\n\"");
        let error = ask(1, server(&["+OK\r\n"], &["$3\r\nabc\r\n".into()])).unwrap_err();
        assert!(matches!(error, ThroughputError::Wrong { kind: Kind::Get, .. }), "{error}");
    }

    #[test]
    fn a_server_that_goes_away_or_says_nothing_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closing = thread::spawn(move || drop(listener.accept()));
        assert!(matches!(ask(1, address).unwrap_err(), ThroughputError::Lost(_)));
        closing.join().unwrap();
        assert!(matches!(ask(1, address).unwrap_err(), ThroughputError::Connect(_)));
        assert!(matches!(ask(1, server(&["+OK"], &[])).unwrap_err(), ThroughputError::Silent(_)));
    }
}
