//! Gives the replica's new tasks the numbers that the source's had.
//!
//! A pid namespace numbers tasks from the last number upwards; `/proc/sys/kernel/ns_last_pid` sets it (Linux 3.3, namespaces(7)).
//! The file acts on the namespace of whoever writes it, so a helper process lives in the replica's namespace, with a number far
//! from those that containers reach. It is needed only where numbers were used up by tasks that are not in the log: the
//! container's runtime starts some before the first image.

use super::backend::BackendError;
use crate::sys::ptrace::Pid;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The helper's own number in the namespace.
const HELPER_TID: libc::pid_t = 32_700;

/// Sets the next task's number.
#[derive(Debug)]
pub struct LastPid {
    init: Pid,
    last: Option<u32>,
    helper: Option<Helper>,
}

#[derive(Debug)]
struct Helper {
    pid: Pid,
    orders: File,
    answers: File,
}

impl LastPid {
    /// For the pid namespace that `init`, a host pid, is the first task of.
    #[must_use]
    pub fn new(init: Pid) -> Self {
        Self { init, last: None, helper: None }
    }

    /// The next task will be `tid`.
    pub fn before_fork(&mut self, tid: u32) -> Result<(), BackendError> {
        if self.last.is_some_and(|last| last + 1 == tid) {
            return Ok(());
        }
        let fail = |source| BackendError::Io { what: "setting the last pid", pid: self.init, source };
        let helper = match &mut self.helper {
            Some(helper) => helper,
            none => none.insert(Helper::start(self.init).map_err(fail)?),
        };
        helper.set(tid - 1).map_err(fail)
    }

    /// The kernel gave this number.
    pub fn after_fork(&mut self, tid: u32) {
        self.last = Some(tid);
    }

    /// Ends the helper: before the replica goes live.
    pub fn finish(&mut self) {
        self.helper = None;
    }
}

impl Helper {
    fn start(init: Pid) -> io::Result<Self> {
        let namespace = File::open(format!("/proc/{init}/ns/pid"))?;
        let (order_read, order_write) = pipe()?;
        let (answer_read, answer_write) = pipe()?;
        let pid = std::thread::scope(|scope| {
            // setns(2) with a pid namespace is for the children of the calling thread alone.
            scope.spawn(|| spawn(&namespace, &order_read, &answer_write)).join()
        });
        let pid = pid.map_err(|_| io::Error::other("the helper's thread ended"))??;
        Ok(Self { pid, orders: File::from(order_write), answers: File::from(answer_read) })
    }

    fn set(&mut self, last: u32) -> io::Result<()> {
        self.orders.write_all(&last.to_ne_bytes())?;
        let mut answer = [0; 4];
        self.answers.read_exact(&mut answer)?;
        match i32::from_ne_bytes(answer) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // SAFETY: numbers, and a null status pointer, which waitpid allows. The pid is our child's and not reaped before.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL);
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors, which are owned from here on.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

fn spawn(namespace: &File, orders: &OwnedFd, answers: &OwnedFd) -> io::Result<Pid> {
    // SAFETY: a live descriptor.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let tid = HELPER_TID;
    // SAFETY: all-zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = 0;
    args.set_tid = std::ptr::from_ref(&tid) as u64;
    args.set_tid_size = 1;
    // SAFETY: as fork(2). The child makes only system calls until it ends: it takes no lock and allocates nothing.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match pid {
        0 => serve(orders.as_raw_fd(), answers.as_raw_fd()),
        pid if pid < 0 => Err(io::Error::last_os_error()),
        pid => Pid::try_from(pid).map_err(io::Error::other),
    }
}

/// The helper: reads numbers, writes them to the kernel, answers with an errno. Ends when nobody can send any more.
fn serve(orders: i32, answers: i32) -> ! {
    // Every other descriptor is closed, the other end of `orders` among them, or its end would never come.
    let (low, high) = (orders.min(answers).unsigned_abs(), orders.max(answers).unsigned_abs());
    for (from, to) in [(0, low.checked_sub(1)), (low + 1, high.checked_sub(1)), (high + 1, Some(u32::MAX))] {
        if let Some(to) = to
            && from <= to
        {
            // SAFETY: numbers only; nothing in this process uses the descriptors that it closes.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    }
    loop {
        let mut order = [0_u8; 4];
        // SAFETY: a buffer that lives here, of the length that is told.
        if unsafe { libc::read(orders, order.as_mut_ptr().cast(), 4) } != 4 {
            // SAFETY: ends this process, which shares nothing with its parent.
            unsafe { libc::_exit(0) };
        }
        let errno = write_last_pid(u32::from_ne_bytes(order)).to_ne_bytes();
        // SAFETY: a buffer that lives here, of the length that is told. If nobody reads, the next read ends the process.
        unsafe { libc::write(answers, errno.as_ptr().cast(), 4) };
    }
}

fn write_last_pid(last: u32) -> i32 {
    let mut digits = [0_u8; 10];
    let mut at = digits.len();
    let mut rest = last;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let number = &digits[at..];
    // SAFETY: a constant path, and a buffer that lives here.
    unsafe {
        let fd = libc::open(c"/proc/sys/kernel/ns_last_pid".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return *libc::__errno_location();
        }
        let written = libc::write(fd, number.as_ptr().cast(), number.len());
        let errno = *libc::__errno_location();
        libc::close(fd);
        if usize::try_from(written).is_ok_and(|n| n == number.len()) { 0 } else { errno }
    }
}
