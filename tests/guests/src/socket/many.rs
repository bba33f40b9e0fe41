//! Servers with many connections.

use super::address::{accept, tcp_connect, tcp_listen};
use crate::kit::process::{fork, join, pid};
use crate::kit::{Chain, Result, fd};

/// A child serves 20 connections with `poll`; the parent asks them in random order.
pub fn many(chain: &mut Chain) -> Result {
    let (listener, port) = tcp_listen(0, 32)?;
    let server = fork(|| {
        let mut entries = vec![libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 }];
        let mut served = 0u32;
        let mut open = 0;
        loop {
            sys!(poll(entries.as_mut_ptr(), entries.len() as u64, -1))?;
            for at in (0..entries.len()).rev() {
                if entries[at].revents == 0 {
                    continue;
                }
                if at == 0 {
                    let (client, _) = accept(listener, 0)?;
                    entries.push(libc::pollfd { fd: client, events: libc::POLLIN, revents: 0 });
                    open += 1;
                    continue;
                }
                let client = entries[at].fd;
                let mut request = [0; 64];
                let got = fd::read(client, &mut request)?;
                if got == 0 {
                    fd::close(client)?;
                    entries.remove(at);
                    open -= 1;
                    if open == 0 {
                        return Ok(0);
                    }
                } else {
                    served += 1;
                    fd::write_all(client, &[&served.to_le_bytes()[..], &request[..got]].concat())?;
                }
            }
        }
    })?;
    fd::close(listener)?;
    let connections = (0..20).map(|_| tcp_connect(port)).collect::<Result<Vec<_>>>()?;
    for round in 1..=200u32 {
        let at = chain.below(20) as usize;
        let len = 1 + chain.below(60) as usize;
        let request = chain.data(len);
        fd::write_all(connections[at], &request)?;
        let answer = fd::read_exact(connections[at], 4 + request.len())?;
        check_eq!(answer, [&round.to_le_bytes()[..], &request].concat(), "answer {round}");
        chain.bytes(&answer);
    }
    fd::close_all(&connections)?;
    join(server)
}

/// Three children wait in `accept` on one listener: each connection goes to one of them, and which is an input.
pub fn prefork_accept(chain: &mut Chain) -> Result {
    let (listener, port) = tcp_listen(0, 32)?;
    let children = (0..3)
        .map(|_| {
            fork(|| {
                loop {
                    let (client, _) = accept(listener, 0)?;
                    let request = fd::read_exact(client, 4)?;
                    fd::write_all(client, &(pid() as u32).to_le_bytes())?;
                    fd::close(client)?;
                    if request == *b"stop" {
                        return Ok(0);
                    }
                }
            })
        })
        .collect::<Result<Vec<_>>>()?;
    fd::close(listener)?;
    for round in 0..33 {
        let connection = tcp_connect(port)?;
        fd::write_all(connection, if round < 30 { b"more" } else { b"stop" })?;
        let answer = fd::read_exact(connection, 4)?;
        let server = i32::from_le_bytes(answer[..].try_into()?);
        check!(children.contains(&server), "an answer of {server}");
        check_eq!(fd::read(connection, &mut [0; 4])?, 0, "end");
        chain.num(server);
        fd::close(connection)?;
    }
    children.into_iter().try_for_each(join)
}
