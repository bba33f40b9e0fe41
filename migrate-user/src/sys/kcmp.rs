//! `kcmp(2)`: do two descriptors share one open file? Needs `CONFIG_KCMP` or `CONFIG_CHECKPOINT_RESTORE`.

use std::io;
use std::os::fd::RawFd;

const KCMP_FILE: libc::c_int = 0;
const KCMP_VM: libc::c_int = 1;
const KCMP_FILES: libc::c_int = 2;
const KCMP_EPOLL_TFD: libc::c_int = 7;

/// `struct kcmp_epoll_slot`: which registration of an epoll set is meant.
#[repr(C)]
struct EpollSlot {
    epoll_fd: u32,
    target_fd: u32,
    /// Which one, when several files were registered under one number.
    nth: u32,
}

fn kcmp(pid_a: i32, pid_b: i32, kind: libc::c_int, a: u64, b: u64) -> io::Result<bool> {
    // SAFETY: the call reads no memory of ours except, for KCMP_EPOLL_TFD, the slot that `b` points to, which the caller keeps alive.
    let answer = unsafe { libc::syscall(libc::SYS_kcmp, pid_a, pid_b, kind, a, b) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer == 0) }
}

/// Is `(pid_a, fd_a)` the same open file description as `(pid_b, fd_b)`?
///
/// # Errors
/// `EBADF`, `ESRCH`, `EPERM`: see kcmp(2).
pub fn same_file(pid_a: i32, fd_a: RawFd, pid_b: i32, fd_b: RawFd) -> io::Result<bool> {
    kcmp(pid_a, pid_b, KCMP_FILE, fd_a as u64, fd_b as u64)
}

/// Do two tasks share one memory?
///
/// # Errors
/// `ESRCH`, `EPERM`: see kcmp(2).
pub fn same_memory(pid_a: i32, pid_b: i32) -> io::Result<bool> {
    kcmp(pid_a, pid_b, KCMP_VM, 0, 0)
}

/// Do two tasks share one descriptor table?
///
/// # Errors
/// `ESRCH`, `EPERM`: see kcmp(2).
pub fn same_table(pid_a: i32, pid_b: i32) -> io::Result<bool> {
    kcmp(pid_a, pid_b, KCMP_FILES, 0, 0)
}

/// Is the file that the epoll set `(epoll_pid, epoll_fd)` knows as `target_fd` the open file `(pid, fd)`?
///
/// A registration outlives the descriptor it was made with when the file has another one, so the number alone proves nothing.
///
/// # Errors
/// `ENOENT` if the set has no such registration; see kcmp(2).
pub fn epoll_watches(pid: i32, fd: RawFd, epoll_pid: i32, epoll_fd: RawFd, target_fd: RawFd) -> io::Result<bool> {
    let slot = EpollSlot { epoll_fd: epoll_fd as u32, target_fd: target_fd as u32, nth: 0 };
    kcmp(pid, epoll_pid, KCMP_EPOLL_TFD, fd as u64, std::ptr::from_ref(&slot) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_duplicate_is_the_same_file_and_a_second_open_is_not() {
        let me = std::process::id() as i32;
        let first = std::fs::File::open("/dev/null").unwrap();
        let duplicate = first.try_clone().unwrap();
        let second = std::fs::File::open("/dev/null").unwrap();
        assert!(same_file(me, first.as_raw_fd(), me, duplicate.as_raw_fd()).unwrap());
        assert!(!same_file(me, first.as_raw_fd(), me, second.as_raw_fd()).unwrap());
        assert!(same_table(me, me).unwrap());
    }
}
