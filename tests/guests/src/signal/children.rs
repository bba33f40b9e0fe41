//! SIGCHLD, and children that die by signals.

use std::collections::BTreeSet;

use crate::kit::process::{fork, join_signal, kill, no_core, pid, wait};
use crate::kit::{Chain, Result, signal};

/// 100 children end as they like: signals may be fewer than children, but no child is lost.
pub fn storm(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGCHLD, 0)?;
    let open = signal::block(&[libc::SIGCHLD])?;
    let mut living = BTreeSet::new();
    let mut ended = 0;
    for number in 0..100 {
        living.insert(fork(move || Ok(number % 50))?);
        if number % 10 == 9 {
            let mut status = 0;
            while living.len() > 10 || (number == 99 && !living.is_empty()) {
                match sys!(waitpid(-1, &raw mut status, libc::WNOHANG))? {
                    0 => fails!(EINTR, sigsuspend(&raw const open))?,
                    child => {
                        check!(living.remove(&child), "{child} is not a child");
                        check!(libc::WIFEXITED(status), "status {status:#x}");
                        chain.num(child);
                        chain.num(status);
                        ended += 1;
                    }
                }
            }
        }
    }
    check_eq!(ended, 100, "children that ended");
    fails!(ECHILD, waitpid(-1, std::ptr::null_mut(), libc::WNOHANG))?;
    signal::unblock(&[libc::SIGCHLD])?;
    let signals = signal::take(chain).len();
    check!((1..=100).contains(&signals), "{signals} signals of 100 children");
    Ok(())
}

/// The signal of a child's end says how it ended.
pub fn info(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGCHLD, 0)?;
    let open = signal::block(&[libc::SIGCHLD])?;
    for (by, wanted) in [(0, (libc::CLD_EXITED, 42)), (libc::SIGKILL, (libc::CLD_KILLED, libc::SIGKILL))] {
        let child = fork(|| {
            if by != 0 {
                kill(pid(), by)?;
            }
            Ok(42)
        })?;
        fails!(EINTR, sigsuspend(&raw const open))?;
        let seen = signal::take(chain);
        check_eq!(seen.len(), 1, "signals");
        check_eq!((seen[0].pid(), seen[0].code, seen[0].value as u32 as i32), (child, wanted.0, wanted.1), "child, code, status");
        wait(child)?;
    }
    Ok(())
}

/// Children die by every signal that ends a process, by `abort`, and by a fault; the status says which.
pub fn deaths(chain: &mut Chain) -> Result {
    no_core()?;
    let deadly =
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGABRT, libc::SIGKILL, libc::SIGUSR1, libc::SIGSEGV, libc::SIGUSR2];
    let others =
        [libc::SIGALRM, libc::SIGTERM, libc::SIGSTKFLT, libc::SIGXCPU, libc::SIGVTALRM, libc::SIGSYS, libc::SIGRTMIN() + 9];
    for number in deadly.into_iter().chain(others) {
        let child = fork(|| {
            if number != libc::SIGKILL {
                signal::dispose(number, libc::SIG_DFL)?;
            }
            kill(pid(), number)?;
            Ok(0)
        })?;
        join_signal(child, number)?;
        chain.num(child);
        chain.num(number);
    }
    join_signal(fork(|| std::process::abort())?, libc::SIGABRT)?;
    let fault = fork(|| {
        signal::dispose(libc::SIGSEGV, libc::SIG_DFL)?;
        // SAFETY: never returns: nothing is mapped there, and the fault ends this child.
        Ok(unsafe { std::ptr::without_provenance::<i32>(16).read_volatile() })
    })?;
    join_signal(fault, libc::SIGSEGV)?;
    // A signal that is ignored or has no effect by default ends nobody.
    let harmless = fork(|| {
        for number in [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT] {
            signal::dispose(number, libc::SIG_DFL)?;
            kill(pid(), number)?;
        }
        signal::dispose(libc::SIGTERM, libc::SIG_IGN)?;
        kill(pid(), libc::SIGTERM)?;
        Ok(0)
    })?;
    crate::kit::process::join(harmless)
}
