//! Waiting for children.

use crate::kit::process::{fork, join, join_code, kill, pid};
use crate::kit::{Chain, Result, fd, zero};

/// A child that ends with this code when a byte comes or the pipe is closed.
fn held(code: i32) -> Result<(i32, i32)> {
    let (read, write) = fd::pipe()?;
    let child = fork(|| {
        fd::close(write)?;
        fd::read(read, &mut [0; 1])?;
        Ok(code)
    })?;
    fd::close(read)?;
    Ok((child, write))
}

/// `wait4` for one, any, a group; without waiting; with the child's resources.
pub fn variants(chain: &mut Chain) -> Result {
    let (mut status, mut usage): (i32, libc::rusage) = (0, zero());
    fails!(ECHILD, waitpid(-1, &raw mut status, 0))?;
    let (first, first_hold) = held(11)?;
    let (second, second_hold) = held(22)?;
    check_eq!(sys!(waitpid(-1, &raw mut status, libc::WNOHANG))?, 0, "a wait while both run");
    check_eq!(sys!(waitpid(first, &raw mut status, libc::WNOHANG))?, 0, "a wait while it runs");
    fd::close(second_hold)?;
    check_eq!(sys!(waitpid(-1, &raw mut status, 0))?, second, "a wait for any");
    check_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 22), "status");
    fails!(ECHILD, waitpid(second, &raw mut status, libc::WNOHANG))?;
    fd::close(first_hold)?;
    check_eq!(sys!(wait4(first, &raw mut status, 0, &raw mut usage))?, first, "a wait for one");
    check_eq!(libc::WEXITSTATUS(status), 11, "exit code");
    for value in [usage.ru_maxrss, usage.ru_minflt, usage.ru_nvcsw, usage.ru_utime.tv_usec, usage.ru_stime.tv_usec] {
        chain.num(value);
    }
    let (third, third_hold) = held(33)?;
    sys!(setpgid(third, 0))?;
    let (fourth, fourth_hold) = held(44)?;
    fd::close_all(&[third_hold, fourth_hold])?;
    check_eq!(sys!(waitpid(-third, &raw mut status, 0))?, third, "a wait for a group");
    check_eq!(sys!(waitpid(0, &raw mut status, 0))?, fourth, "a wait for the own group");
    [first, second, third, fourth].into_iter().for_each(|child| chain.num(child));
    fails!(EINVAL, waitpid(-1, &raw mut status, 0x4000_0000u32 as i32 | 0x10))
}

/// `waitid` looks without taking, and says who, how and with what.
pub fn waitid(chain: &mut Chain) -> Result {
    let (child, hold) = held(5)?;
    let mut info: libc::siginfo_t = zero();
    sys!(waitid(libc::P_PID, child as u32, &raw mut info, libc::WEXITED | libc::WNOHANG))?;
    // SAFETY: zeroed, or a child's signal: the field is there.
    check_eq!(unsafe { info.si_pid() }, 0, "who ended while it runs");
    fd::close(hold)?;
    for options in [libc::WEXITED | libc::WNOWAIT, libc::WEXITED | libc::WNOWAIT | libc::WNOHANG, libc::WEXITED] {
        sys!(waitid(libc::P_ALL, 0, &raw mut info, options))?;
        // SAFETY: a child's signal.
        let (who, what) = unsafe { (info.si_pid(), info.si_status()) };
        check_eq!((who, what, info.si_code, info.si_signo), (child, 5, libc::CLD_EXITED, libc::SIGCHLD), "who and how");
    }
    fails!(ECHILD, waitid(libc::P_PID, child as u32, &raw mut info, libc::WEXITED))?;
    fails!(EINVAL, waitid(libc::P_ALL, 0, &raw mut info, 0))?;
    let (killed, hold) = held(6)?;
    kill(killed, libc::SIGKILL)?;
    let mut usage: libc::rusage = zero();
    let group = plain!(getpgrp());
    raw!(SYS_waitid, libc::P_PGID, group, &raw mut info, libc::WEXITED, &raw mut usage)?;
    // SAFETY: a child's signal.
    let (who, what) = unsafe { (info.si_pid(), info.si_status()) };
    check_eq!((who, what, info.si_code), (killed, libc::SIGKILL, libc::CLD_KILLED), "who and how");
    [child, killed].into_iter().for_each(|child| chain.num(child));
    chain.num(usage.ru_minflt);
    fd::close(hold)
}

/// Zombies keep their number and are in /proc until they are waited for; signals to them succeed and do nothing.
pub fn zombies(chain: &mut Chain) -> Result {
    let mut children = Vec::new();
    for code in 0..10 {
        children.push(fork(|| Ok(code))?);
    }
    for &child in &children {
        let mut info: libc::siginfo_t = zero();
        sys!(waitid(libc::P_PID, child as u32, &raw mut info, libc::WEXITED | libc::WNOWAIT))?;
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat"))?;
        check!(stat.contains(") Z "), "state of {child}: {stat}");
        kill(child, libc::SIGTERM)?;
        kill(child, 0)?;
        chain.num(child);
    }
    for (code, child) in children.into_iter().enumerate().rev() {
        join_code(child, code as i32)?;
        fails!(ESRCH, kill(child, 0))?;
        check!(std::fs::metadata(format!("/proc/{child}")).is_err(), "{child} is still in /proc");
    }
    chain.num(pid());
    join(fork(|| Ok(0))?)
}
