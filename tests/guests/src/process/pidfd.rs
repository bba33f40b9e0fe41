//! Processes as descriptors.

use crate::kit::process::fork;
use crate::kit::{Chain, Result, fd, unsupported, zero};

/// A process's descriptor: readable when it has ended, signals go by it, waits too.
pub fn pidfd(chain: &mut Chain) -> Result {
    let child = fork(|| {
        loop {
            plain!(pause());
        }
    })?;
    let handle = plain!(syscall(libc::SYS_pidfd_open, child, 0)) as i32;
    if handle == -1 {
        unsupported("pidfd_open")?;
        crate::kit::process::kill(child, libc::SIGKILL)?;
        return crate::kit::process::join_signal(child, libc::SIGKILL);
    }
    check_eq!(sys!(fcntl(handle, libc::F_GETFD))?, libc::FD_CLOEXEC, "close-on-exec");
    check_eq!(fd::poll_one(handle, libc::POLLIN, 0)?, 0, "events while it runs");
    raw!(SYS_pidfd_send_signal, handle, libc::SIGTERM, 0, 0)?;
    check_eq!(fd::poll_one(handle, libc::POLLIN, 5000)? & libc::POLLIN, libc::POLLIN, "events after it ended");
    let mut info: libc::siginfo_t = zero();
    sys!(waitid(libc::P_PIDFD, handle as u32, &raw mut info, libc::WEXITED))?;
    // SAFETY: a child's signal.
    let (who, what) = unsafe { (info.si_pid(), info.si_status()) };
    check_eq!((who, what, info.si_code), (child, libc::SIGTERM, libc::CLD_KILLED), "who and how");
    fails!(ESRCH, syscall(libc::SYS_pidfd_send_signal, handle, 0, 0, 0))?;
    fails!(ESRCH, syscall(libc::SYS_pidfd_open, child, 0))?;
    fails!(EINVAL, syscall(libc::SYS_pidfd_open, 0, 0))?;
    chain.num(child);
    fd::close(handle)
}
