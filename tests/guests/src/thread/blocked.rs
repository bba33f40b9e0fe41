//! Threads that wait in a call while others work.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::kit::order::by;
use crate::kit::thread;
use crate::kit::{Chain, Order, Result, clock, fd};

/// One thread is blocked in read; what others write arrives there in one order.
pub fn read(chain: &mut Chain) -> Result {
    let (read, write) = fd::pipe()?;
    let reader = thread::start(move || {
        let mut seen = Vec::new();
        for _ in 0..60 {
            seen.extend(fd::read_exact(read, 8)?);
        }
        Ok(seen)
    })?;
    let state = Arc::new(());
    thread::all(3, &state, move |index, ()| {
        for round in 0..20u8 {
            let mut line = vec![index as u8, round];
            line.extend(fd::random(6)?);
            fd::write_all(write, &line)?;
        }
        Ok(())
    })?;
    let seen = thread::join(reader)?;
    for index in 0..3 {
        let rounds = seen.chunks(8).filter(|line| line[0] == index).map(|line| line[1]);
        check!(rounds.eq(0..20), "the lines of thread {index} are not in order");
    }
    chain.bytes(&seen);
    fd::close_all(&[read, write])
}

/// One thread is blocked in accept, and one thread for each connection serves it.
pub fn accept(chain: &mut Chain) -> Result {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let order = Arc::new(Order::new());
    let served = Arc::clone(&order);
    let server = thread::start(move || {
        let mut workers = Vec::new();
        for number in 0..6 {
            let (mut connection, _) = listener.accept()?;
            let order = Arc::clone(&served);
            workers.push(thread::start(move || {
                let mut request = [0; 8];
                connection.read_exact(&mut request)?;
                order.note(by(number, u64::from(request[0])));
                request.iter_mut().for_each(|byte| *byte = !*byte);
                connection.write_all(&request)?;
                Ok(())
            })?);
        }
        workers.into_iter().try_for_each(thread::join)
    })?;
    let state = Arc::new(());
    let answers = thread::all(3, &state, move |index, ()| {
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            let mut request = fd::random(8)?;
            request[0] = index as u8;
            connection.write_all(&request)?;
            let mut answer = [0; 8];
            connection.read_exact(&mut answer)?;
            check!(answer.iter().zip(&request).all(|(got, sent)| *got == !sent), "the answer is not the request's inverse");
            answers.extend(answer);
        }
        Ok(answers)
    })?;
    thread::join(server)?;
    answers.iter().for_each(|answer| chain.bytes(answer));
    check_eq!(order.take(chain)?.len(), 6, "connections");
    Ok(())
}

/// Two threads wait with one epoll instance; each event reaches one of them.
pub fn epoll(chain: &mut Chain) -> Result {
    const EVENTS: u64 = 40;
    let epoll = sys!(epoll_create1(libc::EPOLL_CLOEXEC))?;
    let counters = [0; 3].map(|_| plain!(eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)));
    let stop = sys!(eventfd(0, libc::EFD_CLOEXEC))?;
    for (at, &counter) in counters.iter().chain([&stop]).enumerate() {
        let edge = if counter == stop { 0 } else { libc::EPOLLET };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | edge) as u32, u64: at as u64 };
        sys!(epoll_ctl(epoll, libc::EPOLL_CTL_ADD, counter, &raw mut event))?;
    }
    let order = Arc::new(Order::new());
    let mut waiters = Vec::new();
    for index in 0..2 {
        let order = Arc::clone(&order);
        waiters.push(thread::start(move || {
            let mut sum = 0u64;
            loop {
                let mut event: libc::epoll_event = crate::kit::zero();
                sys!(epoll_wait(epoll, &raw mut event, 1, -1))?;
                let at = { event.u64 } as usize;
                if at == 3 {
                    return Ok(sum);
                }
                let mut count = 0u64;
                // The other one may have taken the count of two events already.
                if plain!(read(counters[at], (&raw mut count).cast(), 8)) == 8 {
                    order.note(by(index, (at as u64) << 16 | count));
                    sum += count;
                }
            }
        })?);
    }
    for round in 0..EVENTS {
        let one = 1u64.to_ne_bytes();
        fd::write_all(counters[(chain.below(3)) as usize], &one)?;
        if round % 5 == 0 {
            clock::sleep_ms(1)?;
        }
    }
    // What is still in a counter has an event that a waiter will get.
    clock::sleep_ms(5)?;
    thread::until(|| counters.iter().all(|&counter| fd::poll_one(counter, libc::POLLIN, 0).is_ok_and(|events| events == 0)))?;
    fd::write_all(stop, &1u64.to_ne_bytes())?;
    let sums: Vec<u64> = waiters.into_iter().map(thread::join).collect::<Result<_>>()?;
    check_eq!(sums.iter().sum::<u64>(), EVENTS, "events");
    sums.into_iter().for_each(|sum| chain.num(sum));
    order.take(chain)?;
    fd::close_all(&counters)?;
    fd::close_all(&[stop, epoll])
}

/// Threads sleep for different times, and wake in the order of these.
pub fn sleepers(chain: &mut Chain) -> Result {
    let state = Arc::new(Order::new());
    let times = thread::all(8, &state, |index, order| {
        let begin = clock::monotonic()?;
        for round in 0..5 {
            clock::sleep_ms(1 + index as i64 % 3)?;
            order.note(by(index, round));
        }
        Ok((clock::monotonic()? - begin, index))
    })?;
    crate::kit::order::check_each_ascends(&state.take(chain)?, 8, 5)?;
    for (time, index) in times {
        check!(time >= 5 * (1 + index as i64 % 3) * clock::MS_NS, "thread {index} slept only {time} ns");
        chain.num(time);
    }
    Ok(())
}

/// A token goes round along pipes, and everybody adds to it.
pub fn ring(chain: &mut Chain) -> Result {
    const COUNT: usize = 5;
    let mut pipes = Vec::new();
    for _ in 0..COUNT {
        pipes.push(fd::pipe()?);
    }
    let state = Arc::new((pipes, Order::new()));
    thread::all(COUNT, &state, |index, (pipes, order)| {
        let (from, to) = (pipes[index].0, pipes[(index + 1) % COUNT].1);
        if index == 0 {
            fd::write_all(to, &0u64.to_le_bytes())?;
        }
        for round in 0..20 {
            let mut token = u64::from_le_bytes(fd::read_exact(from, 8)?.try_into().expect("8 bytes"));
            order.note(by(index, token & 0xffff));
            token += 1 + (u64::from(fd::random(1)?[0]) << 32);
            if index != 0 || round != 19 {
                fd::write_all(to, &token.to_le_bytes())?;
            }
        }
        Ok(())
    })?;
    let words = state.1.take(chain)?;
    check!(words.iter().map(|word| word & 0xffff).eq(0..20 * COUNT as u64), "the token's numbers");
    state.0.iter().try_for_each(|&(read, write)| fd::close_all(&[read, write]))
}
