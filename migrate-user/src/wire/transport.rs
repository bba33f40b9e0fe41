//! Messages over any byte stream.
//!
//! Generic over the stream, so that TLS goes between this and TCP without a change here. Sending waits until the stream
//! has taken the frame, and nothing is read that nobody asks for: so a slow reader slows its writer down. Timeouts are the
//! agent's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::error::WireError;
use super::frame;
use super::message::Message;

/// The least room for one read.
const READ_BYTES: usize = 64 << 10;

/// Bytes that passed in one direction; cloned, it counts the same.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Bytes so far, frames' headers included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The writing half.
#[derive(Debug)]
pub struct Sender<W> {
    stream: W,
    counter: Counter,
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    pub fn new(stream: W) -> Self {
        Self { stream, counter: Counter::default() }
    }

    /// Sends a message. Not cancel-safe: a sender whose `send` was dropped half way must be dropped too.
    ///
    /// # Errors
    /// [`WireError::Io`], or [`WireError::Size`] for a message that is too large (nothing was sent then).
    pub async fn send(&mut self, message: &Message) -> Result<(), WireError> {
        let bytes = frame::encode(message)?;
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await?;
        self.counter.add(bytes.len());
        Ok(())
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub async fn shutdown(&mut self) -> Result<(), WireError> {
        Ok(self.stream.shutdown().await?)
    }

    #[must_use]
    pub fn counter(&self) -> Counter {
        self.counter.clone()
    }
}

/// The reading half.
#[derive(Debug)]
pub struct Receiver<R> {
    stream: R,
    buffer: Vec<u8>,
    counter: Counter,
}

impl<R: AsyncRead + Unpin> Receiver<R> {
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new(), counter: Counter::default() }
    }

    /// The next message; `None` when the peer closed the connection between two. Cancel-safe.
    ///
    /// # Errors
    /// [`WireError`]; the connection is of no use then.
    pub async fn recv(&mut self) -> Result<Option<Message>, WireError> {
        loop {
            if let Some((message, used)) = frame::decode(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(Some(message));
            }
            // Never more than this ahead of what has arrived: a peer must send what it makes us hold.
            self.buffer.reserve(READ_BYTES);
            let have = self.stream.read_buf(&mut self.buffer).await?;
            self.counter.add(have);
            if have == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(WireError::CutShort) };
            }
        }
    }

    #[must_use]
    pub fn counter(&self) -> Counter {
        self.counter.clone()
    }
}

/// Both halves of a stream.
pub fn split<S: AsyncRead + AsyncWrite>(stream: S) -> (Sender<WriteHalf<S>>, Receiver<ReadHalf<S>>) {
    let (read, write) = tokio::io::split(stream);
    (Sender::new(write), Receiver::new(read))
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
