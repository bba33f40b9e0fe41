//! Child processes.

use crate::kit::call::errno;
use crate::kit::{Chain, Result};

/// The guests' own program: the only one that an image must have.
pub const SELF: &std::ffi::CStr = c"/proc/self/exe";

/// Forks. The child runs `body` and exits with what it returns; an error goes to standard error and is exit code 125. Nothing of
/// the parent's (destructors, exit handlers) runs in the child.
pub fn fork(body: impl FnOnce() -> Result<i32>) -> Result<i32> {
    let pid = sys!(fork())?;
    if pid > 0 {
        return Ok(pid);
    }
    let code = body().unwrap_or_else(|error| {
        eprintln!("child {}: {error:#}", std::process::id());
        125
    });
    exit_now(code)
}

/// Ends this process without anything of the C library or of Rust running.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Waits for a child's end, signals or not; gives its wait status.
pub fn wait(pid: i32) -> Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status is a live local.
        let got = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if got == pid {
            return Ok(status);
        }
        check!(got == -1 && errno() == libc::EINTR, "waitpid({pid}) gave {got}, errno {}", errno());
    }
}

/// Waits for a child that must exit with 0.
pub fn join(pid: i32) -> Result {
    join_code(pid, 0)
}

/// Waits for a child that must exit with this code.
pub fn join_code(pid: i32, code: i32) -> Result {
    let status = wait(pid)?;
    check!(libc::WIFEXITED(status), "child {pid} ended with status {status:#x}");
    check_eq!(libc::WEXITSTATUS(status), code, "exit code of child {pid}");
    Ok(())
}

/// Waits for a child that must die by this signal.
pub fn join_signal(pid: i32, signal: i32) -> Result {
    let status = wait(pid)?;
    check!(libc::WIFSIGNALED(status), "child {pid} ended with status {status:#x}");
    check_eq!(libc::WTERMSIG(status), signal, "signal that ended child {pid}");
    Ok(())
}

/// Sends a signal.
pub fn kill(pid: i32, signal: i32) -> Result {
    sys!(kill(pid, signal)).map(drop)
}

/// This process's number.
#[must_use]
pub fn pid() -> i32 {
    plain!(getpid())
}

/// Keeps core files away, where a child is to die by a signal that would make one.
pub fn no_core() -> Result {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    sys!(setrlimit(libc::RLIMIT_CORE, &raw const none)).map(drop)
}

/// A child that signals this process again and again, so that a call which blocks is interrupted however late it begins.
#[derive(Debug)]
pub struct Pester {
    pid: i32,
    stop: i32,
}

impl Pester {
    /// Starts it: a signal every `gap_ms`.
    pub fn start(signal: i32, gap_ms: i32) -> Result<Self> {
        use crate::kit::fd;
        let (end, stop) = fd::pipe()?;
        let parent = pid();
        let pid = fork(|| {
            fd::close(stop)?;
            while fd::poll_one(end, libc::POLLIN, gap_ms)? == 0 {
                kill(parent, signal)?;
            }
            Ok(0)
        })?;
        fd::close(end)?;
        Ok(Self { pid, stop })
    }

    /// Stops it.
    pub fn stop(self, chain: &mut Chain) -> Result {
        crate::kit::fd::close(self.stop)?;
        chain.num(self.pid);
        join(self.pid)
    }
}
