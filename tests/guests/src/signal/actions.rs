//! Flags of an action, and what fork and exec keep.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::process::{SELF, fork, join, join_code, kill, pid};
use crate::kit::{Chain, Result, fd, signal, zero};

static DEEPEST: AtomicUsize = AtomicUsize::new(0);
static DEPTH: AtomicUsize = AtomicUsize::new(0);

extern "C" fn again(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let depth = DEPTH.fetch_add(1, Ordering::SeqCst) + 1;
    if DEEPEST.fetch_max(depth, Ordering::SeqCst) < 5 && depth < 5 {
        plain!(raise(libc::SIGUSR1));
    }
    DEPTH.fetch_sub(1, Ordering::SeqCst);
}

/// SA_RESETHAND, SA_NODEFER, sa_mask, SA_NOCLDWAIT and ignored SIGCHLD do what they say.
pub fn flags(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGWINCH, libc::SA_RESETHAND)?;
    sys!(raise(libc::SIGWINCH))?;
    sys!(raise(libc::SIGWINCH))?;
    check_eq!(signal::take(chain).len(), 1, "signals of a handler that is reset");
    signal::install(libc::SIGUSR1, again, libc::SA_NODEFER)?;
    sys!(raise(libc::SIGUSR1))?;
    check_eq!(DEEPEST.load(Ordering::SeqCst), 5, "depth with SA_NODEFER");
    chain.num(DEEPEST.load(Ordering::SeqCst));

    let mut action: libc::sigaction = zero();
    action.sa_sigaction = signal::note as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NOCLDWAIT;
    sys!(sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()))?;
    let child = fork(|| Ok(3))?;
    fails!(ECHILD, waitpid(child, std::ptr::null_mut(), 0))?;
    signal::dispose(libc::SIGCHLD, libc::SIG_IGN)?;
    let child = fork(|| Ok(4))?;
    fails!(ECHILD, waitpid(child, std::ptr::null_mut(), 0))?;
    chain.num(child);
    signal::dispose(libc::SIGCHLD, libc::SIG_DFL)?;
    signal::take(chain);
    fails!(EINVAL, sigaction(libc::SIGKILL, &raw const action, std::ptr::null_mut()))?;
    let mut old: libc::sigaction = zero();
    sys!(sigaction(libc::SIGUSR1, std::ptr::null(), &raw mut old))?;
    check!(old.sa_sigaction != libc::SIG_DFL && old.sa_flags & libc::SA_SIGINFO != 0, "the action that is set");
    Ok(())
}

/// Over exec handlers become the default, ignored ones stay ignored, mask and pending signals stay.
pub fn over_exec(chain: &mut Chain) -> Result {
    let child = fork(|| {
        signal::watch(libc::SIGUSR1, 0)?;
        signal::dispose(libc::SIGUSR2, libc::SIG_IGN)?;
        signal::block(&[libc::SIGTERM, libc::SIGHUP])?;
        kill(pid(), libc::SIGHUP)?;
        let name = fd::c("@dispositions");
        let args = [c"guests".as_ptr(), name.as_ptr(), std::ptr::null()];
        sys!(execv(SELF.as_ptr(), args.as_ptr()))
    })?;
    chain.num(child);
    join(child)
}

/// Role of [`over_exec`].
pub fn role_dispositions(_: &[String]) -> Result {
    for (number, wanted) in [(libc::SIGUSR1, libc::SIG_DFL), (libc::SIGUSR2, libc::SIG_IGN), (libc::SIGTERM, libc::SIG_DFL)] {
        let mut action: libc::sigaction = zero();
        sys!(sigaction(number, std::ptr::null(), &raw mut action))?;
        check_eq!(action.sa_sigaction, wanted, "action of {number}");
    }
    let mask = signal::block(&[])?;
    check!(signal::has(&mask, libc::SIGTERM) && signal::has(&mask, libc::SIGHUP), "the mask was lost");
    check!(signal::has(&signal::pending()?, libc::SIGHUP), "the pending signal was lost");
    Ok(())
}

/// A child inherits handlers and mask, but nothing that is pending; its changes are its own.
pub fn over_fork(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGUSR1, 0)?;
    signal::block(&[libc::SIGUSR2])?;
    sys!(raise(libc::SIGUSR2))?;
    let child = fork(|| {
        check!(!signal::has(&signal::pending()?, libc::SIGUSR2), "a child inherited a pending signal");
        check!(signal::has(&signal::block(&[])?, libc::SIGUSR2), "a child did not inherit the mask");
        sys!(raise(libc::SIGUSR1))?;
        let seen = signal::count();
        signal::dispose(libc::SIGUSR1, libc::SIG_IGN)?;
        signal::unblock(&[libc::SIGUSR2])?;
        Ok(seen as i32)
    })?;
    join_code(child, 1)?;
    check_eq!(signal::count(), 0, "signals of the parent");
    sys!(raise(libc::SIGUSR1))?;
    check_eq!(signal::take(chain).len(), 1, "the parent's handler is gone");
    check!(signal::has(&signal::pending()?, libc::SIGUSR2), "the pending signal is gone");
    Ok(())
}
