//! Signals as descriptors.

use super::levels::{add, create, wait};
use crate::kit::process::{fork, kill, pid};
use crate::kit::{Chain, Result, fd, signal, zero};

fn next(signals: i32, chain: &mut Chain) -> Result<libc::signalfd_siginfo> {
    let mut info: libc::signalfd_siginfo = zero();
    check_eq!(sys!(read(signals, (&raw mut info).cast(), 128))?, 128, "bytes of a signal");
    for value in [info.ssi_signo, info.ssi_pid, info.ssi_uid, info.ssi_code as u32, info.ssi_status as u32] {
        chain.num(value);
    }
    chain.num(info.ssi_ptr);
    Ok(info)
}

/// Blocked signals are read with their sender, value and code; several by one read; the set can be changed.
pub fn signalfd(chain: &mut Chain) -> Result {
    signal::block(&[libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD, libc::SIGRTMIN()])?;
    let set = signal::set(&[libc::SIGUSR1, libc::SIGRTMIN(), libc::SIGCHLD]);
    let signals = sys!(signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC))?;
    let mut none = [0u8; 128];
    fails!(EAGAIN, read(signals, none.as_mut_ptr().cast(), 128))?;
    fails!(EINVAL, read(signals, none.as_mut_ptr().cast(), 127))?;
    kill(pid(), libc::SIGUSR1)?;
    let info = next(signals, chain)?;
    check_eq!((info.ssi_signo, info.ssi_pid), (libc::SIGUSR1 as u32, pid() as u32), "signal and sender");
    for value in 0..5usize {
        sys!(sigqueue(pid(), libc::SIGRTMIN(), libc::sigval { sival_ptr: (value * 11) as *mut _ }))?;
    }
    let mut five: [libc::signalfd_siginfo; 8] = [zero(); 8];
    check_eq!(sys!(read(signals, five.as_mut_ptr().cast(), 8 * 128))?, 5 * 128, "bytes of five signals");
    check_eq!(five[..5].iter().map(|info| info.ssi_ptr).collect::<Vec<_>>(), [0, 11, 22, 33, 44], "values in order");
    let child = fork(|| Ok(7))?;
    check_eq!(fd::poll_one(signals, libc::POLLIN, 5000)?, libc::POLLIN, "events");
    let info = next(signals, chain)?;
    check_eq!((info.ssi_signo, info.ssi_pid, info.ssi_status), (libc::SIGCHLD as u32, child as u32, 7), "the child's end");
    crate::kit::process::join_code(child, 7)?;
    kill(pid(), libc::SIGUSR2)?;
    check_eq!(fd::poll_one(signals, libc::POLLIN, 0)?, 0, "a signal that is not in the set");
    let other = signal::set(&[libc::SIGUSR2]);
    check_eq!(sys!(signalfd(signals, &raw const other, 0))?, signals, "the changed descriptor");
    check_eq!(next(signals, chain)?.ssi_signo, libc::SIGUSR2 as u32, "the signal that is in the new set");
    fd::close(signals)
}

/// An event loop over a signal descriptor that several children signal, and their ends.
pub fn in_epoll(chain: &mut Chain) -> Result {
    let watched = [libc::SIGCHLD, libc::SIGRTMIN() + 1];
    signal::block(&watched)?;
    let set = signal::set(&watched);
    let signals = sys!(signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
    let epoll = create()?;
    add(epoll, signals, libc::EPOLLIN)?;
    let parent = pid();
    let mut children = Vec::new();
    for number in 0..4usize {
        children.push(fork(|| {
            for step in 0..10 {
                sys!(sigqueue(parent, libc::SIGRTMIN() + 1, libc::sigval { sival_ptr: (number * 100 + step) as *mut _ }))?;
            }
            Ok(0)
        })?);
    }
    let (mut last, mut queued, mut living) = ([-1i64; 4], 0, children.clone());
    while queued < 40 || !living.is_empty() {
        check!(!wait(epoll, 5000, chain)?.is_empty(), "nothing happened in 5 s");
        let info = next(signals, chain)?;
        if info.ssi_signo == libc::SIGCHLD as u32 {
            // Ends that come together are one signal, so all that are over are collected.
            let mut over = Vec::new();
            for &child in &living {
                let mut status = 0;
                if sys!(waitpid(child, &raw mut status, libc::WNOHANG))? == child {
                    check_eq!(status, 0, "status of {child}");
                    over.push(child);
                    chain.num(child);
                }
            }
            living.retain(|child| !over.contains(child));
        } else {
            let (from, step) = ((info.ssi_ptr / 100) as usize, (info.ssi_ptr % 100) as i64);
            check_eq!(children[from], info.ssi_pid as i32, "sender");
            check_eq!(last[from] + 1, step, "order of one sender's signals");
            last[from] = step;
            queued += 1;
        }
    }
    fd::close_all(&[epoll, signals])
}
