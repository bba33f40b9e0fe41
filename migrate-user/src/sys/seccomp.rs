//! seccomp(2) user notifications: a filter that asks, and the listener that answers. Sources: seccomp_unotify(2),
//! include/uapi/linux/seccomp.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction of classic BPF.
pub type Instruction = libc::sock_filter;

/// Flags of SECCOMP_SET_MODE_FILTER.
pub const FILTER_TSYNC: u64 = 1;
pub const FILTER_NEW_LISTENER: u64 = 1 << 3;
pub const FILTER_TSYNC_ESRCH: u64 = 1 << 4;
/// Linux 5.19: once the listener has taken a notification, only a fatal signal ends the wait for its answer.
pub const FILTER_WAIT_KILLABLE_RECV: u64 = 1 << 5;
/// Operation number of seccomp(2).
pub const SET_MODE_FILTER: u64 = 1;

const CONTINUE: u32 = 1;
/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6: task and listener hand one CPU to each other.
const SYNC_WAKE_UP: u64 = 1;

/// `struct seccomp_notif`: a call that waits for an answer. All zero: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// Unique among the listener's; never 0 in a call that waits.
    pub id: u64,
    /// The calling task, as the listener's pid namespace numbers it; 0 if it has no number there.
    pub tid: u32,
    /// None is defined.
    pub flags: u32,
    pub nr: i32,
    pub arch: u32,
    pub ip: u64,
    pub args: [u64; 6],
}
const _: () = assert!(size_of::<Notification>() == 80);

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    /// None is defined.
    pub flags: u32,
}
const _: () = assert!(size_of::<Answer>() == 24);

mod request {
    use super::{Answer, Notification};
    nix::ioctl_readwrite!(receive, b'!', 0, Notification);
    nix::ioctl_readwrite!(send, b'!', 1, Answer);
    nix::ioctl_write_ptr!(id_valid, b'!', 2, u64);
}

/// Takes the next call that waits into `into`, which must be all zero.
///
/// # Errors
/// `ENOENT` if the call was interrupted before it was taken, or no task is left that could make one. Blocks where nothing waits: poll
/// first.
pub fn receive(listener: BorrowedFd<'_>, into: &mut Notification) -> io::Result<()> {
    // SAFETY: `into` is a live seccomp_notif, of the size that the request's number says.
    unsafe { request::receive(listener.as_raw_fd(), std::ptr::from_mut(into)) }?;
    Ok(())
}

/// Lets the kernel execute the call as if nobody had asked.
///
/// # Errors
/// `ENOENT` if its task is gone.
pub fn let_pass(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    send(listener, Answer { id, value: 0, error: 0, flags: CONTINUE })
}

/// Ends the call with success and the value 0, without executing it.
///
/// # Errors
/// `ENOENT` if its task is gone.
pub fn succeed(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    send(listener, Answer { id, value: 0, error: 0, flags: 0 })
}

fn send(listener: BorrowedFd<'_>, mut answer: Answer) -> io::Result<()> {
    // SAFETY: `answer` is a live seccomp_notif_resp.
    unsafe { request::send(listener.as_raw_fd(), &raw mut answer) }?;
    Ok(())
}

/// Whether the call still waits: what was read meanwhile under its task's number was that task's.
#[must_use]
pub fn waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads a live u64.
    unsafe { request::id_valid(listener.as_raw_fd(), &raw const id) }.is_ok()
}

/// Asks for cheaper wake-ups. Without them it is slower, not wrong.
pub fn wake_on_same_cpu(listener: BorrowedFd<'_>) {
    // The number says that it takes eight bytes' address; the kernel takes the value itself.
    let set_flags = nix::request_code_write!(b'!', 4, size_of::<u64>());
    // SAFETY: numbers only.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), set_flags, SYNC_WAKE_UP) };
}
