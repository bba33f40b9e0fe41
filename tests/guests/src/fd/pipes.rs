//! Pipes.

use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, fd, signal};

/// What `FIONREAD` says is in a pipe.
fn queued(read: i32) -> Result<i32> {
    let mut count = 0i32;
    sys!(ioctl(read, libc::FIONREAD, &raw mut count))?;
    Ok(count)
}

/// Reads take what is there, in order, whatever the pieces in which it was written; the end is 0.
pub fn partial(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    let data = chain.data(3000);
    for piece in data.chunks(700) {
        check_eq!(fd::write(write, piece)?, piece.len(), "bytes written");
    }
    check_eq!(queued(read)?, 3000, "bytes in the pipe");
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    for len in [1, 10, 699, 701, 1000, 4096] {
        let count = fd::read(read, &mut buffer[..len])?;
        chain.num(count);
        got.extend_from_slice(&buffer[..count]);
    }
    check_eq!(got, data, "bytes through the pipe");
    chain.bytes(&got);
    check_eq!(fd::read(read, &mut [])?, 0, "a read of nothing");
    fd::close(write)?;
    check_eq!(fd::read(read, &mut buffer)?, 0, "end");
    fd::close(read)
}

/// A full pipe refuses with EAGAIN, takes more when a page was read, and an empty one refuses a read.
pub fn nonblocking(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe_with(libc::O_NONBLOCK)?;
    let mut byte = 0u8;
    fails!(EAGAIN, read(read, (&raw mut byte).cast(), 1))?;
    let data = chain.data(100_000);
    let size = sys!(fcntl(write, libc::F_GETPIPE_SZ))? as usize;
    let wrote = fd::write(write, &data)?;
    check_eq!(wrote, size.min(data.len()), "bytes that fit");
    fails!(EAGAIN, write(write, (&raw const byte).cast(), 1))?;
    check_eq!(fd::poll_one(write, libc::POLLOUT, 0)?, 0, "events of a full pipe");
    let page = fd::read_exact(read, 4096)?;
    check_eq!(page, data[..4096], "first page");
    check_eq!(fd::poll_one(write, libc::POLLOUT, 0)?, libc::POLLOUT, "events after a page was read");
    check_eq!(fd::write(write, &data[wrote..])?, 4096.min(data.len() - wrote), "bytes in the page that became free");
    let larger = sys!(fcntl(write, libc::F_SETPIPE_SZ, 1 << 17))?;
    check_eq!(larger, 1 << 17, "size after F_SETPIPE_SZ");
    let left = queued(read)? as usize;
    chain.num(left);
    chain.bytes(&fd::read_exact(read, left)?);
    fails!(EAGAIN, read(read, (&raw mut byte).cast(), 1))?;
    fd::close_all(&[read, write])
}

/// With O_DIRECT each write is a packet: a read takes one, and what does not fit is lost.
pub fn packets(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe_with(libc::O_DIRECT)?;
    let data = chain.data(600);
    for piece in [&data[..100], &data[100..400], &data[400..]] {
        fd::write(write, piece)?;
    }
    let mut buffer = [0; 4096];
    check_eq!(fd::read(read, &mut buffer)?, 100, "first packet");
    check_eq!(fd::read(read, &mut buffer[100..150])?, 50, "a part of the second");
    check_eq!(fd::read(read, &mut buffer[150..])?, 200, "third packet");
    check_eq!(buffer[..150], data[..150], "bytes of two packets");
    check_eq!(buffer[150..350], data[400..], "bytes of the third");
    chain.bytes(&buffer[..350]);
    fd::close_all(&[read, write])
}

/// A pipe of 1 MiB gives that much by one read; then 8 MiB through it from a child, in pieces as they come.
pub fn large(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    let size = plain!(fcntl(write, libc::F_SETPIPE_SZ, 1 << 20));
    // Without a privilege the kernel may refuse a user with many pipes.
    let size = if size == -1 { 1 << 16 } else { size as usize };
    let data = chain.data(size);
    check_eq!(fd::write(write, &data)?, size, "bytes of one write");
    let mut buffer = vec![0; 2 << 20];
    check_eq!(fd::read(read, &mut buffer)?, size, "bytes of one read");
    check_eq!(buffer[..size], data, "bytes");
    chain.bytes(&buffer[..size]);

    let data = chain.data(1 << 20);
    let pid = fork(|| {
        fd::close(read)?;
        (0..8).try_for_each(|_| fd::write_all(write, &data))?;
        Ok(0)
    })?;
    fd::close(write)?;
    let mut total = 0;
    loop {
        let count = fd::read(read, &mut buffer)?;
        if count == 0 {
            break;
        }
        for (at, byte) in buffer[..count].iter().enumerate().step_by(997) {
            check_eq!(*byte, data[(total + at) % data.len()], "byte {}", total + at);
        }
        // How the bytes fell into pieces depends on who ran when.
        chain.num(count);
        chain.bytes(&buffer[..count]);
        total += count;
    }
    check_eq!(total, 8 << 20, "bytes of the child");
    join(pid)?;
    fd::close(read)
}

/// A child turns round what it gets by one pipe and sends it back by another; the parent checks each message.
pub fn processes(chain: &mut Chain) -> Result {
    let (there_read, there_write) = fd::pipe()?;
    let (back_read, back_write) = fd::pipe()?;
    let pid = fork(|| {
        fd::close_all(&[there_write, back_read])?;
        loop {
            let mut head = [0; 4];
            if fd::read_full(there_read, &mut head)? == 0 {
                return Ok(0);
            }
            let mut bytes = fd::read_exact(there_read, u32::from_le_bytes(head) as usize)?;
            bytes.reverse();
            bytes.extend_from_slice(&fd::random(8)?);
            fd::write_all(back_write, &bytes)?;
        }
    })?;
    fd::close_all(&[there_read, back_write])?;
    for _ in 0..100 {
        let len = chain.below(5000) as usize;
        let mut message = chain.data(len);
        fd::write_all(there_write, &(len as u32).to_le_bytes())?;
        fd::write_all(there_write, &message)?;
        let answer = fd::read_exact(back_read, len + 8)?;
        message.reverse();
        check_eq!(answer[..len], message, "what came back");
        chain.bytes(&answer);
    }
    fd::close(there_write)?;
    join(pid)?;
    check!(fd::read_to_end(back_read)?.is_empty(), "bytes behind the last answer");
    fd::close(back_read)
}

/// A pipe without a reader: EPIPE, POLLERR, and SIGPIPE when it is not ignored; without a writer: POLLHUP.
pub fn end(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    fd::close(read)?;
    check_eq!(fd::poll_one(write, libc::POLLOUT, 0)? & libc::POLLERR, libc::POLLERR, "events without a reader");
    signal::dispose(libc::SIGPIPE, libc::SIG_IGN)?;
    fails!(EPIPE, write(write, [0u8].as_ptr().cast(), 1))?;
    signal::watch(libc::SIGPIPE, 0)?;
    fails!(EPIPE, write(write, [0u8].as_ptr().cast(), 1))?;
    let seen = signal::take(chain);
    check_eq!((seen.len(), seen[0].signal), (1, libc::SIGPIPE), "signals");
    fd::close(write)?;
    let (read, write) = fd::pipe()?;
    fd::write_all(write, b"last")?;
    fd::close(write)?;
    check_eq!(fd::poll_one(read, libc::POLLIN, 0)?, libc::POLLIN | libc::POLLHUP, "events with bytes and no writer");
    check_eq!(fd::read_to_end(read)?, b"last", "the last bytes");
    check_eq!(fd::poll_one(read, libc::POLLIN, 0)?, libc::POLLHUP, "events at the end");
    fd::close(read)
}
