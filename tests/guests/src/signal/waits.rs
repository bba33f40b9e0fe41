//! Waiting for signals.

use crate::kit::clock::{MS_NS, monotonic, timespec};
use crate::kit::process::{fork, join, kill, pid};
use crate::kit::{Chain, Result, signal, zero};

/// `sigsuspend` waits with another mask and restores the old one: one signal for each wait, none is lost.
pub fn suspend(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, 0)?;
    signal::watch(libc::SIGUSR2, 0)?;
    let open = signal::block(&[libc::SIGUSR1, libc::SIGUSR2])?;
    let parent = pid();
    let child = fork(|| {
        for _ in 0..50 {
            kill(parent, libc::SIGUSR1)?;
            let set = signal::set(&[libc::SIGUSR2]);
            check_eq!(sys!(sigwaitinfo(&raw const set, std::ptr::null_mut()))?, libc::SIGUSR2, "the parent's answer");
        }
        Ok(0)
    })?;
    for round in 1..=50 {
        fails!(EINTR, sigsuspend(&raw const open))?;
        check_eq!(signal::count(), round, "signals after {round} waits");
        check!(signal::has(&signal::block(&[])?, libc::SIGUSR1), "the mask is not what it was");
        kill(child, libc::SIGUSR2)?;
    }
    join(child)?;
    check!(signal::take(chain).iter().all(|one| one.pid() == child), "another sender");
    Ok(())
}

/// `sigtimedwait` takes pending signals in order of their numbers, and times out not early.
pub fn timed(chain: &mut Chain) -> Result {
    let numbers = [libc::SIGUSR2, libc::SIGUSR1, libc::SIGRTMIN() + 1, libc::SIGRTMIN() + 1];
    signal::block(&numbers)?;
    let set = signal::set(&numbers);
    for (value, number) in numbers.into_iter().enumerate() {
        sys!(sigqueue(pid(), number, libc::sigval { sival_ptr: value as *mut _ }))?;
    }
    let mut found = Vec::new();
    for _ in 0..4 {
        let mut info: libc::siginfo_t = zero();
        let number = sys!(sigtimedwait(&raw const set, &raw mut info, &timespec(1_000 * MS_NS)))?;
        check_eq!((number, info.si_code), (info.si_signo, libc::SI_QUEUE), "signal and code");
        // SAFETY: a queued signal has a value and a sender.
        let (value, sender) = unsafe { (info.si_value().sival_ptr as u64, info.si_pid()) };
        check_eq!(sender, pid(), "sender");
        chain.num(value);
        found.push((number, value));
    }
    let wanted = [(libc::SIGUSR1, 1), (libc::SIGUSR2, 0), (libc::SIGRTMIN() + 1, 2), (libc::SIGRTMIN() + 1, 3)];
    check_eq!(found, wanted, "signals and values");
    let before = monotonic()?;
    fails!(EAGAIN, sigtimedwait(&raw const set, std::ptr::null_mut(), &timespec(6 * MS_NS)))?;
    check!(monotonic()? - before >= 6 * MS_NS, "it timed out early");
    fails!(EAGAIN, sigtimedwait(&raw const set, std::ptr::null_mut(), &timespec(0)))?;
    chain.num(monotonic()?);
    signal::watch(libc::SIGHUP, libc::SA_RESTART)?;
    let pester = crate::kit::process::Pester::start(libc::SIGHUP, 3)?;
    fails!(EINTR, sigtimedwait(&raw const set, std::ptr::null_mut(), &timespec(8_000 * MS_NS)))?;
    pester.stop(chain)?;
    signal::take(chain);
    Ok(())
}

/// Parent and child signal each other 200 times in turn.
pub fn ping_pong(chain: &mut Chain) -> Result {
    signal::block(&[libc::SIGUSR1, libc::SIGUSR2])?;
    let (one, two) = (signal::set(&[libc::SIGUSR1]), signal::set(&[libc::SIGUSR2]));
    let parent = pid();
    let child = fork(|| {
        for _ in 0..200 {
            let mut info: libc::siginfo_t = zero();
            check_eq!(sys!(sigwaitinfo(&raw const one, &raw mut info))?, libc::SIGUSR1, "signal");
            kill(parent, libc::SIGUSR2)?;
        }
        Ok(0)
    })?;
    for _ in 0..200 {
        kill(child, libc::SIGUSR1)?;
        let mut info: libc::siginfo_t = zero();
        check_eq!(sys!(sigwaitinfo(&raw const two, &raw mut info))?, libc::SIGUSR2, "signal");
        // SAFETY: a signal by kill has a sender.
        check_eq!(unsafe { info.si_pid() }, child, "sender");
    }
    chain.num(child);
    chain.num(monotonic()?);
    join(child)
}

/// Three children send 100 queued signals each while the parent makes calls: all arrive, each sender's in order.
pub fn storm(chain: &mut Chain) -> Result {
    let number = libc::SIGRTMIN() + 2;
    // While one is handled the others wait, so a sender's order is the order of its notes.
    signal::watch(number, libc::SA_RESTART)?;
    let parent = pid();
    let mut children = Vec::new();
    for _ in 0..3 {
        children.push(fork(|| {
            for value in 0..100usize {
                sys!(sigqueue(parent, number, libc::sigval { sival_ptr: value as *mut _ }))?;
            }
            Ok(0)
        })?);
    }
    while signal::count() < 300 {
        chain.num(monotonic()?);
        chain.num(signal::count());
        crate::kit::clock::sleep_ms(1)?;
    }
    let seen = signal::take(chain);
    check_eq!(seen.len(), 300, "signals");
    for child in children {
        let values: Vec<u64> = seen.iter().filter(|one| one.pid() == child).map(|one| one.value).collect();
        check_eq!(values, (0..100).collect::<Vec<_>>(), "values of {child}");
        join(child)?;
    }
    Ok(())
}
