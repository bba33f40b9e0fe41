//! Stopping and continuing.

use crate::kit::clock::sleep_ms;
use crate::kit::process::{fork, join, kill, wait};
use crate::kit::{Chain, Result, fd, signal, zero};

/// A child is stopped and continued: its parent is told, and in between the child does nothing.
pub fn stops(chain: &mut Chain) -> Result {
    signal::watch(libc::SIGCHLD, libc::SA_RESTART)?;
    let ((go_read, go_write), (read, write)) = (fd::pipe()?, fd::pipe()?);
    let child = fork(|| {
        for _ in 0..3 {
            fd::read_exact(go_read, 1)?;
            fd::write_all(write, b"!")?;
        }
        // An end would take the place of the news that it was continued.
        fd::read_exact(go_read, 1)?;
        Ok(0)
    })?;
    let mut status = 0;
    for number in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN] {
        kill(child, number)?;
        // An orphaned process group ignores the terminal's signals.
        if number != libc::SIGSTOP {
            kill(child, libc::SIGSTOP)?;
        }
        check_eq!(sys!(waitpid(child, &raw mut status, libc::WUNTRACED))?, child, "a wait for a stop");
        check!(libc::WIFSTOPPED(status), "status {status:#x}");
        chain.num(status);
        fd::write_all(go_write, b"!")?;
        sleep_ms(4)?;
        check_eq!(fd::poll_one(read, libc::POLLIN, 0)?, 0, "a stopped child's answer");
        kill(child, libc::SIGCONT)?;
        let mut info: libc::siginfo_t = zero();
        loop {
            sys!(waitid(libc::P_PID, child as u32, &raw mut info, libc::WCONTINUED | libc::WSTOPPED))?;
            if info.si_code == libc::CLD_CONTINUED {
                break;
            }
            check_eq!(info.si_code, libc::CLD_STOPPED, "code");
            kill(child, libc::SIGCONT)?;
        }
        // SAFETY: a child's signal has a status.
        check_eq!(unsafe { info.si_status() }, libc::SIGCONT, "status");
        fd::read_exact(read, 1)?;
    }
    fd::write_all(go_write, b"!")?;
    join(child)?;
    signal::take(chain);
    // A stopped child can be killed, and a continued one was never hurt.
    let sleeper = fork(|| {
        loop {
            plain!(pause());
        }
    })?;
    kill(sleeper, libc::SIGSTOP)?;
    check_eq!(sys!(waitpid(sleeper, &raw mut status, libc::WUNTRACED))?, sleeper, "a wait for a stop");
    kill(sleeper, libc::SIGKILL)?;
    check_eq!(wait(sleeper)?, libc::SIGKILL, "status of a child that was killed while it was stopped");
    fd::close_all(&[go_read, go_write, read, write])
}
