//! A process that only holds descriptors: what a frozen container looks like from outside.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit goes as far as it may; returns it.
fn raise_descriptor_limit() -> RawFd {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(1 << 20, |maximum| maximum.min(1 << 20) as RawFd)
}

/// Stopped; killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Holder(i32);

impl Holder {
    /// Forks a process in the network namespace `ns` (or the caller's) that has exactly these descriptors, under these numbers.
    pub(super) fn new(ns: Option<&File>, descriptors: &[(&dyn AsRawFd, RawFd)]) -> Self {
        // Above all numbers in use.
        let limit = raise_descriptor_limit();
        let safe = limit - descriptors.len() as RawFd;
        let list: Vec<(RawFd, RawFd)> = descriptors.iter().map(|(fd, number)| (fd.as_raw_fd(), *number)).collect();
        let ns = ns.map(AsRawFd::as_raw_fd);
        let parent = std::process::id() as i32;
        // safeTY: the child makes nothing but system calls (no allocation, no locks) until it ends, as fork in a program with
        // threads demands.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // safeTY: none of these calls touches memory; a failure ends the child, which the parent notices.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let mut failed = libc::getppid() != parent || ns.is_some_and(|ns| libc::setns(ns, libc::CLONE_NEWNET) != 0);
                // Out of the way first: a number that is wanted may be one that is still needed.
                for (index, (from, _)) in list.iter().enumerate() {
                    failed |= libc::dup3(*from, safe + index as RawFd, 0) < 0;
                }
                failed |= libc::close_range(0, safe as u32 - 1, 0) != 0;
                for (index, (_, number)) in list.iter().enumerate() {
                    failed |= libc::dup3(safe + index as RawFd, *number, 0) < 0;
                }
                failed |= libc::close_range(safe as u32, u32::MAX, 0) != 0;
                if failed {
                    libc::_exit(1);
                }
                libc::raise(libc::SIGSTOP);
                loop {
                    libc::pause();
                }
            }
        }
        let mut status = 0;
        // safeTY: the kernel writes one int to `status`.
        unsafe { libc::waitpid(pid, &mut status, libc::WUNTRACED) };
        assert!(libc::WIFSTOPPED(status), "the holder did not come up");
        Self(pid)
    }

    pub(super) fn pid(&self) -> i32 {
        self.0
    }

    /// Queues a signal, which stays pending while the process is stopped.
    pub(super) fn signal(&self, signal: i32) {
        // safeTY: kill has no memory arguments.
        assert_eq!(unsafe { libc::kill(self.0, signal) }, 0);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // safeTY: no memory is touched but a null status, which waitpid allows; the process is our child and not reaped yet.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}
