//! One client of the server: a socket that never blocks, with one command at most that is not answered yet.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use super::{
    ThroughputError,
    answer::{ANSWER_MAX, Progress},
    request::Kind,
};
use crate::client::http::connect;

/// Room for an answer that is longer than any right one, and for the words of an error.
const ROOM: usize = ANSWER_MAX + 64;

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Not answered yet.
    asked: Option<Kind>,
    /// The beginning of the answer.
    received: [u8; ROOM],
    length: usize,
}

impl Connection {
    pub fn open(server: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = connect(server, timeout)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, asked: None, received: [0; ROOM], length: 0 })
    }

    /// Sends a request. The one before is answered, so that the socket has room for the whole of it.
    pub fn ask(&mut self, kind: Kind, request: &[u8]) -> Result<(), ThroughputError> {
        if self.stream.write(request).map_err(ThroughputError::Lost)? < request.len() {
            return Err(ThroughputError::Cut);
        }
        self.asked = Some(kind);
        Ok(())
    }

    /// Reads once. The command that is answered now; none if a part of the answer is still missing.
    pub fn receive(&mut self) -> Result<Option<Kind>, ThroughputError> {
        match self.stream.read(&mut self.received[self.length..]) {
            Ok(0) => return Err(ThroughputError::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => self.length += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return Ok(None),
            Err(error) => return Err(ThroughputError::Lost(error)),
        }
        let received = &self.received[..self.length];
        let wrong = || received.escape_ascii().to_string();
        let Some(kind) = self.asked else { return Err(ThroughputError::Unasked { said: wrong() }) };
        match Progress::of(kind, received) {
            Progress::Part => return Ok(None),
            Progress::Whole => (self.asked, self.length) = (None, 0),
            Progress::Wrong => return Err(ThroughputError::Wrong { kind, said: wrong() }),
        }
        Ok(Some(kind))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
