//! Bytes through pipes, sockets, counters and signals.

use super::await_event;
use crate::kit::process::{kill, pid};
use crate::kit::{Chain, Result, fd, signal, zero};

/// What stays open from step to step.
#[derive(Debug)]
pub struct Moves {
    pipe: (i32, i32),
    stream: (i32, i32),
    counter: i32,
    signals: i32,
    epoll: i32,
    /// Bytes that were left in the stream on purpose, to be read in the next step.
    left: Vec<u8>,
}

impl Moves {
    /// Opens everything.
    pub fn new() -> Result<Self> {
        signal::block(&[libc::SIGUSR2])?;
        let set = signal::set(&[libc::SIGUSR2]);
        let moves = Self {
            pipe: fd::pipe()?,
            stream: crate::socket::pair(libc::SOCK_STREAM)?,
            counter: sys!(eventfd(0, libc::EFD_CLOEXEC))?,
            signals: sys!(signalfd(-1, &raw const set, libc::SFD_CLOEXEC))?,
            epoll: sys!(epoll_create1(libc::EPOLL_CLOEXEC))?,
            left: Vec::new(),
        };
        for (number, kind) in [(moves.counter, libc::EPOLLIN), (moves.signals, libc::EPOLLIN | libc::EPOLLET)] {
            let mut event = libc::epoll_event { events: kind as u32, u64: number as u64 };
            sys!(epoll_ctl(moves.epoll, libc::EPOLL_CTL_ADD, number, &raw mut event))?;
        }
        Ok(moves)
    }

    /// Sends and receives by each of them.
    pub fn step(&mut self, chain: &mut Chain) -> Result {
        self.vectors(chain)?;
        self.messages(chain)?;
        self.counts(chain)
    }

    /// `writev` and `readv` on the pipe, told by `ppoll`.
    fn vectors(&self, chain: &mut Chain) -> Result {
        let (read, write) = self.pipe;
        let (mut first, mut second) = (chain.data(40), fd::random(60)?);
        let parts = [&mut first, &mut second].map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
        check_eq!(sys!(writev(write, parts.as_ptr(), 2))?, 100, "bytes into the pipe");
        let mut entry = libc::pollfd { fd: read, events: libc::POLLIN, revents: 0 };
        let short = crate::kit::clock::timespec(1_000_000);
        let found = plain!(ppoll(&raw mut entry, 1, &raw const short, std::ptr::null()));
        check!(found == 1 || found == -1 && crate::kit::call::errno() == libc::EINTR, "ppoll of a full pipe gave {found}");
        let (mut third, mut fourth) = ([0; 70], [0; 70]);
        let parts = [
            libc::iovec { iov_base: third.as_mut_ptr().cast(), iov_len: 70 },
            libc::iovec { iov_base: fourth.as_mut_ptr().cast(), iov_len: 70 },
        ];
        check_eq!(sys!(readv(read, parts.as_ptr(), 2))?, 100, "bytes from the pipe");
        let got = [&third[..], &fourth[..30]].concat();
        check_eq!(got, [first, second].concat(), "the pipe's bytes");
        chain.bytes(&got);
        Ok(())
    }

    /// `sendmsg` and `recvmsg` on the stream, a part of which is left for the next step.
    fn messages(&mut self, chain: &mut Chain) -> Result {
        let len = 50 + chain.below(400) as usize;
        let mut data = chain.data(len);
        let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: len };
        let mut message: libc::msghdr = zero();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        check_eq!(sys!(sendmsg(self.stream.0, &raw const message, 0))? as usize, len, "bytes into the stream");
        self.left.extend_from_slice(&data);
        let take = self.left.len() - chain.below(40) as usize;
        let mut room = vec![0u8; take];
        vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: take };
        message.msg_iov = &raw mut vector;
        check_eq!(sys!(recvmsg(self.stream.1, &raw mut message, 0))? as usize, take, "bytes from the stream");
        let wanted: Vec<u8> = self.left.drain(..take).collect();
        check!(room == wanted, "the stream's bytes differ");
        chain.bytes(&room);
        Ok(())
    }

    /// The counter and a signal, told by epoll.
    fn counts(&self, chain: &mut Chain) -> Result {
        let added = 1 + chain.below(1 << 30);
        fd::write_all(self.counter, &added.to_ne_bytes())?;
        kill(pid(), libc::SIGUSR2)?;
        let mut found = Vec::new();
        while found.len() < 2 {
            let mut events: [libc::epoll_event; 4] = [zero(); 4];
            let count = plain!(epoll_wait(self.epoll, events.as_mut_ptr(), 4, 5_000));
            check!(count != 0, "no event in 5 s, only {found:?}");
            check!(count > 0 || crate::kit::call::errno() == libc::EINTR, "error of epoll_wait");
            for event in &events[..count.max(0) as usize] {
                let number = event.u64 as i32;
                if !found.contains(&number) {
                    found.push(number);
                }
                chain.num(number);
            }
        }
        found.sort_unstable();
        check_eq!(found, [self.counter, self.signals], "descriptors with events");
        check_eq!(fd::read_u64(self.counter)?, added, "the counter");
        await_event(self.signals, libc::POLLIN)?;
        let mut info: libc::signalfd_siginfo = zero();
        check_eq!(sys!(read(self.signals, (&raw mut info).cast(), 128))?, 128, "bytes of a signal");
        check_eq!((info.ssi_signo, info.ssi_pid), (libc::SIGUSR2 as u32, pid() as u32), "signal and sender");
        chain.num(added);
        Ok(())
    }
}
