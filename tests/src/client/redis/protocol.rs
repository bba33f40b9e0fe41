//! Just enough of the Redis protocol (RESP 2) to ask over one connection again and again and to look at every byte of the answers.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::client::http::{RequestError, connect};

/// An answer. Arrays are not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
    Nothing,
    Error(String),
}

/// A connection that stays.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(server: SocketAddr, timeout: Duration) -> Result<Self, RequestError> {
        Ok(Self { reader: BufReader::new(connect(server, timeout)?) })
    }

    /// Sends a command and reads its whole answer.
    pub fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, RequestError> {
        if !self.reader.buffer().is_empty() {
            return Err(RequestError::Malformed("bytes that nobody asked for"));
        }
        self.reader.get_mut().write_all(&encode(words))?;
        decode(&mut self.reader)
    }
}

fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut message = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        message.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        message.extend_from_slice(word);
        message.extend_from_slice(b"\r\n");
    }
    message
}

fn decode(reader: &mut impl BufRead) -> Result<Reply, RequestError> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let line = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n"));
    let (kind, rest) = line.and_then(|line| line.split_at_checked(1)).ok_or(RequestError::Malformed("no line of an answer"))?;
    let number = || rest.parse::<i64>().map_err(|_| RequestError::Malformed("no number"));
    Ok(match kind {
        "+" => Reply::Text(rest.to_string()),
        "-" => Reply::Error(rest.to_string()),
        ":" => Reply::Number(number()?),
        "$" => match usize::try_from(number()?) {
            Err(_) => Reply::Nothing,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                reader.read_exact(&mut bytes)?;
                if !bytes.ends_with(b"\r\n") {
                    return Err(RequestError::Malformed("a value without its end"));
                }
                bytes.truncate(length);
                Reply::Bytes(bytes)
            }
        },
        _ => return Err(RequestError::Malformed("an answer of unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_words() {
        assert_eq!(encode(&[b"GET", b"a key"]), b"*2\r\n$3\r\nGET\r\n$5\r\na key\r\n");
    }

    #[test]
    fn every_kind_of_answer_is_read_to_its_end() {
        let mut answers: &[u8] = b"+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n-ERR no\r\n";
        let read: Vec<Reply> = (0..5).map(|_| decode(&mut answers).unwrap()).collect();
        let bytes = Reply::Bytes(b"a\r\n".to_vec());
        assert_eq!(read, [Reply::Text("OK".into()), Reply::Number(-7), bytes, Reply::Nothing, Reply::Error("ERR no".into())]);
        assert!(answers.is_empty());
    }

    #[test]
    fn what_is_no_answer_is_named() {
        assert!(matches!(decode(&mut &b"HTTP/1.1 400\r\n"[..]), Err(RequestError::Malformed(_))));
        assert!(matches!(decode(&mut &b""[..]), Err(RequestError::Reset(_))));
        assert!(matches!(decode(&mut &b"$3\r\nabcd\r\n"[..]), Err(RequestError::Malformed(_))));
        assert!(matches!(decode(&mut &b"$9\r\nabc"[..]), Err(RequestError::Reset(_))));
    }
}
