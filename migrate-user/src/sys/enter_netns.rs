//! Work in another network namespace, without moving the caller.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The network namespace of a process.
///
/// # Errors
/// `ENOENT` if there is no such process.
pub fn of(pid: i32) -> io::Result<File> {
    File::open(format!("/proc/{pid}/ns/net"))
}

/// Runs `work` on a short-lived thread inside the network namespace `ns`.
///
/// A socket belongs to the namespace that it was made in and keeps working elsewhere, so `work` may return sockets.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `EAGAIN` if no thread can be made. A panic in `work` is passed on.
pub fn within<T: Send>(ns: impl AsFd, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let raw = ns.as_fd().as_raw_fd();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, move || {
            // SAFETY: setns has no memory arguments; `raw` is open because the caller holds `ns` until the thread is joined.
            if unsafe { libc::setns(raw, libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(work())
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
