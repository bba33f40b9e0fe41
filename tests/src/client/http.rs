//! Just enough HTTP/1.1 to ask over one connection again and again and to look at every byte of the answers.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Heads are shorter than this.
const HEAD_MAX: usize = 16 * 1024;

/// Why a request got no complete answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the connection was refused")]
    Refused,
    #[error("the connection was reset or closed ({0})")]
    Reset(io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is no HTTP: {0}")]
    Malformed(&'static str),
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for RequestError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Reset(error),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

/// Waits until something listens there; whether it did in time. A program that is just starting refuses connections.
pub fn wait_listening(server: SocketAddr, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    while TcpStream::connect_timeout(&server, Duration::from_secs(1)).is_err() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A connection that sends at once, and waits no longer than this for anything.
pub(in crate::client) fn connect(server: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// A connection that stays. What was received beyond an answer is kept, and is an error before the next request.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub fn open(server: SocketAddr, timeout: Duration) -> Result<Self, RequestError> {
        Ok(Self { stream: connect(server, timeout)?, received: Vec::new() })
    }

    /// Sends a request and reads its whole answer.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response, RequestError> {
        if !self.received.is_empty() {
            return Err(RequestError::Malformed("bytes that nobody asked for"));
        }
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: lab\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut message = text.into_bytes();
        message.extend_from_slice(body);
        self.stream.write_all(&message)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Response, RequestError> {
        let head_bytes = loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break end + 4;
            }
            if self.received.len() > HEAD_MAX {
                return Err(RequestError::Malformed("a head without an end"));
            }
            self.receive(1)?;
        };
        let (status, headers) = parse_head(&self.received[..head_bytes])?;
        let mut response = Response { status, headers, body: Vec::new() };
        let length = response.header("content-length").and_then(|text| text.parse::<usize>().ok());
        let length = length.ok_or(RequestError::Malformed("no content length"))?;
        let missing = (head_bytes + length).saturating_sub(self.received.len());
        self.receive(missing)?;
        response.body = self.received.drain(..head_bytes + length).skip(head_bytes).collect();
        Ok(response)
    }

    /// Receives at least `wanted` bytes.
    fn receive(&mut self, mut wanted: usize) -> Result<(), RequestError> {
        let mut buffer = [0; 64 * 1024];
        while wanted > 0 {
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.received.extend_from_slice(&buffer[..count]);
            wanted = wanted.saturating_sub(count);
        }
        Ok(())
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

fn parse_head(head: &[u8]) -> Result<(u16, Vec<(String, String)>), RequestError> {
    let text = std::str::from_utf8(head).map_err(|_| RequestError::Malformed("a head that is not text"))?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|line| line.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or(RequestError::Malformed("no status line"))?;
    let headers = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.trim().to_string(), value.trim().to_string())))
        .collect::<Option<_>>()
        .ok_or(RequestError::Malformed("a header without a colon"))?;
    Ok((status, headers))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers any request with these bytes, in pieces.
    fn server(pieces: Vec<&'static [u8]>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).unwrap();
            for piece in pieces {
                stream.write_all(piece).unwrap();
                stream.flush().unwrap();
                thread::sleep(Duration::from_millis(2));
            }
        });
        address
    }

    fn ask(pieces: Vec<&'static [u8]>) -> Result<Response, RequestError> {
        Connection::open(server(pieces), Duration::from_secs(5))?.request("GET", "/", &[], b"")
    }

    #[test]
    fn an_answer_in_pieces_is_put_together() {
        let response = ask(vec![b"HTTP/1.1 200 O", b"K\r\nContent-Length: 5\r\nA: b\r\n\r", b"\nhe", b"llo"]).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, b"hello".as_slice()));
        assert_eq!(response.header("a"), Some("b"));
    }

    #[test]
    fn a_connection_that_ends_early_counts_as_reset() {
        assert!(matches!(ask(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"]), Err(RequestError::Reset(_))));
    }

    #[test]
    fn what_is_no_http_is_named() {
        assert!(matches!(ask(vec![b"SSH-2.0-x\r\n\r\n"]), Err(RequestError::Malformed("no status line"))));
        assert!(matches!(ask(vec![b"HTTP/1.1 200 OK\r\n\r\n"]), Err(RequestError::Malformed("no content length"))));
    }

    #[test]
    fn a_closed_port_is_refused() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(Connection::open(address, Duration::from_secs(5)), Err(RequestError::Refused)));
    }
}
