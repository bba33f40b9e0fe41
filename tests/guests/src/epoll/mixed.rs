//! epoll as servers use it.

use std::ptr::null_mut;

use super::levels::{add, control, create, wait};
use crate::kit::clock::{MS_NS, timespec};
use crate::kit::process::{fork, join};
use crate::kit::{Chain, Result, fd};

/// Timers, a counter, a pipe and a signal descriptor in one set, for 30 rounds of an event loop.
pub fn mixed(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let timers = [2, 3].map(|every| -> Result<i32> {
        let timer = sys!(timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK))?;
        let times = libc::itimerspec { it_interval: timespec(every * MS_NS), it_value: timespec(every * MS_NS) };
        sys!(timerfd_settime(timer, 0, &raw const times, null_mut()))?;
        add(epoll, timer, libc::EPOLLIN)?;
        Ok(timer)
    });
    let [fast, slow] = timers;
    let (fast, slow) = (fast?, slow?);
    let counter = sys!(eventfd(0, libc::EFD_NONBLOCK))?;
    let (read, write) = fd::pipe()?;
    add(epoll, counter, libc::EPOLLIN | libc::EPOLLET)?;
    add(epoll, read, libc::EPOLLIN)?;
    let pid = fork(|| {
        for byte in 0..10u8 {
            crate::kit::clock::sleep_ms(3)?;
            fd::write_all(write, &[byte])?;
        }
        Ok(0)
    })?;
    let (mut ticks, mut sum, mut bytes) = ([0u64; 2], 0, Vec::new());
    while ticks[0] < 12 || ticks[1] < 6 || bytes.len() < 10 {
        let events = wait(epoll, 5000, chain)?;
        check!(!events.is_empty(), "nothing happened in 5 s");
        for (number, _) in events {
            if number == fast || number == slow {
                let fired = fd::read_u64(number)?;
                ticks[usize::from(number == slow)] += fired;
                fd::write_all(counter, &fired.to_ne_bytes())?;
            } else if number == counter {
                sum += fd::read_u64(counter)?;
            } else {
                bytes.extend(fd::read_exact(read, 1)?);
            }
        }
    }
    while fd::poll_one(counter, libc::POLLIN, 0)? != 0 {
        sum += fd::read_u64(counter)?;
    }
    check_eq!(sum, ticks[0] + ticks[1], "ticks by the counter");
    check_eq!(bytes, (0..10).collect::<Vec<u8>>(), "bytes of the child");
    [ticks[0], ticks[1], sum].into_iter().for_each(|value| chain.num(value));
    join(pid)?;
    fd::close_all(&[epoll, fast, slow, counter, read, write])
}

/// An edge-triggered server of eight children over unix sockets, with partial writes when a socket is full.
pub fn server(chain: &mut Chain) -> Result {
    let epoll = create()?;
    let mut children = Vec::new();
    let mut clients = Vec::new();
    for number in 0..8u8 {
        let (near, far) = crate::socket::pair(libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
        let body = chain.data(30_000);
        children.push(fork(|| {
            fd::close(near)?;
            let flags = sys!(fcntl(far, libc::F_GETFL))?;
            sys!(fcntl(far, libc::F_SETFL, flags & !libc::O_NONBLOCK))?;
            for part in body.chunks(3000) {
                fd::write_all(far, part)?;
                let answer = fd::read_exact(far, part.len() * 2)?;
                check!(answer[..part.len()] == *part && answer[part.len()..] == *part, "answer for child {number}");
            }
            Ok(0)
        })?);
        fd::close(far)?;
        add(epoll, near, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET)?;
        clients.push((near, Vec::new(), true));
    }
    while clients.iter().any(|(.., open)| *open) {
        for (number, events) in wait(epoll, 5000, chain)? {
            let Some((client, queue, open)) = clients.iter_mut().find(|(client, ..)| *client == number) else {
                anyhow::bail!("an event of {number}");
            };
            let mut buffer = [0u8; 1700];
            loop {
                let got = plain!(read(*client, buffer.as_mut_ptr().cast(), buffer.len()));
                if got <= 0 {
                    break;
                }
                queue.extend_from_slice(&buffer[..got as usize]);
            }
            // A part is answered when it is whole, so each child's question is doubled in one piece.
            while queue.len() >= 3000 {
                let part: Vec<u8> = queue.drain(..3000).collect();
                chain.bytes(&part);
                let answer = [&part[..], &part].concat();
                let mut sent = 0;
                while sent < answer.len() {
                    let count = plain!(write(*client, answer[sent..].as_ptr().cast(), answer.len() - sent));
                    if count == -1 {
                        check_eq!(crate::kit::call::errno(), libc::EAGAIN, "error of a full socket");
                        check!(fd::poll_one(*client, libc::POLLOUT, 5000)? != 0, "child {number} does not read");
                    } else {
                        sent += count as usize;
                    }
                }
            }
            if events & libc::EPOLLRDHUP != 0 {
                check!(queue.is_empty(), "{} bytes left of {number}", queue.len());
                control(epoll, libc::EPOLL_CTL_DEL, *client, 0)?;
                *open = false;
            }
        }
    }
    children.into_iter().try_for_each(join)?;
    clients.iter().try_for_each(|(client, ..)| fd::close(*client))?;
    fd::close(epoll)
}
