//! What the replay engine needs of a backend: one that runs a replica's tasks from call to call and acts in their place.
//!
//! The reference is [`super::ptrace`]. A backend moves tasks and knows nothing of the log; the engine knows the log and nothing
//! of stops.

pub use super::point::Point;
use crate::sys::ptrace::{Pid, SIGINFO_BYTES};
use std::time::Duration;

/// The system call that a task is about to make, and that has not been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub nr: i32,
    /// rdi, rsi, rdx, r10, r8, r9.
    pub args: [u64; 6],
    /// Address of the instruction behind the call's.
    pub ip: u64,
    pub sp: u64,
}

/// Where a task of the replica stands. It does not move unless it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In user code, before an instruction: a new child, a new image, the start of a signal handler, or behind a call.
    User,
    /// Before a system call.
    Call(Call),
    /// At a signal that its own instruction raised.
    Fault(i32),
    /// In `vfork`, until the child ends or enters another image.
    Vfork,
    /// Ended.
    Dead,
}

/// What will be done with the next call. Only a hint: the other costs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Injected,
    Executed,
}

/// A child that a task has made.
#[derive(Clone, Copy, Debug)]
pub struct Forked {
    /// The child, as the host numbers it.
    pub child: Pid,
    /// The child, as its own pid namespace numbers it: what the call returned, or will return.
    pub tid: u32,
}

/// A task's last trap that became a signal, as the kernel shows it in the frame of whatever signal comes next: its number, error
/// code, and the address of the last page fault. A tracer's breakpoints count as traps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trap {
    pub number: u64,
    pub error: u64,
    pub address: u64,
}

/// Why a backend could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error(transparent)]
    Ptrace(#[from] crate::sys::ptrace::PtraceError),
    #[error("memory of task {pid} at {addr:#x}, {len} bytes: {source}")]
    Memory { pid: Pid, addr: u64, len: usize, source: std::io::Error },
    #[error("{what} of task {pid}: {source}")]
    Io { what: &'static str, pid: Pid, source: std::io::Error },
    #[error("task {pid} stopped by {stop} while it was to {doing}")]
    Unexpected { pid: Pid, stop: String, doing: &'static str },
    #[error("task {pid} is not there any more")]
    Gone { pid: Pid },
    #[error("signal {signal} cannot reach task {pid}: it is blocked or ignored there")]
    Undeliverable { pid: Pid, signal: i32 },
    #[error("the point at {ip:#x} of task {pid} was not found after {hits} hits in {} ms: {instead}", elapsed.as_millis())]
    NoSuchPoint { pid: Pid, ip: u64, hits: u64, elapsed: Duration, instead: String },
}

impl BackendError {
    /// The task has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Ptrace(error) => error.is_gone(),
            other => matches!(other, Self::Gone { .. }),
        }
    }
}

/// Result of a backend's action.
pub type Result<T> = std::result::Result<T, BackendError>;

/// Runs the tasks of a replica. Tasks are named by their host pid.
pub trait Backend {
    /// Where a task stands.
    fn at(&self, pid: Pid) -> At;

    /// Lets a task go on to its next system call, fault or end, and waits for it. Signals that nobody delivered through
    /// [`Backend::deliver`] are swallowed: in a replica they come from the log alone.
    fn run(&mut self, pid: Pid, expect: Expect) -> Result<At>;

    /// Takes a task in user code on to exactly this point, at which it may stand already. No other task moves meanwhile.
    ///
    /// # Errors
    /// [`BackendError::NoSuchPoint`] if it comes to a call, a fault or its end before, or not to the point within a budget; where
    /// the task is then, is no place of the source's any more.
    fn run_to(&mut self, pid: Pid, point: &Point) -> Result<()>;

    /// The call that a task stands at is over with this result, without having been executed.
    fn finish(&mut self, pid: Pid, ret: i64) -> Result<()>;

    /// Makes a task at a call or in user code execute a call in its own name. It stands as before afterwards.
    fn execute(&mut self, pid: Pid, nr: i32, args: [u64; 6]) -> Result<i64>;

    /// Makes a task at a call make that call with other arguments and be interrupted at once, as by a signal. The result is the
    /// kernel's; if the kernel keeps the call's wait for `restart_syscall` (-516), the task stands at that now, with its own
    /// arguments, and otherwise as before.
    fn begin_wait(&mut self, pid: Pid, args: [u64; 6]) -> Result<i64>;

    /// Executes the fork that a task stands at. The child stands in [`At::User`]; the parent behind the call, or in [`At::Vfork`].
    fn fork(&mut self, pid: Pid) -> Result<Forked>;

    /// Waits for the end of [`At::Vfork`], which the child's record promised.
    fn vfork_done(&mut self, pid: Pid) -> Result<()>;

    /// Executes the exec that a task stands at; it stands at the new image's first instruction. The other tasks of its process have
    /// ended, and it goes by the number of their leader, which is returned.
    fn exec(&mut self, pid: Pid) -> Result<Pid>;

    /// Executes rt_sigreturn. The result is what the restored registers hold in rax.
    fn sigreturn(&mut self, pid: Pid) -> Result<i64>;

    /// Executes the exit that a task stands at: its own, or that of its process, whose other tasks then have ended too.
    fn exit(&mut self, pid: Pid) -> Result<()>;

    /// Ends a task's process by a signal.
    fn kill(&mut self, pid: Pid, signal: i32) -> Result<()>;

    /// Delivers a signal with its siginfo where the task stands, which is then at the first instruction of its handler. In the
    /// handler's frame stands `trap`.
    ///
    /// Where the task stands at a call, that call was interrupted with `ret`: a restart code of the kernel (-512 to -516) makes
    /// the kernel decide as it did in the source. `mask` is the address of a signal set that was in force while the call waited.
    fn deliver(&mut self, pid: Pid, signal: &Signal, interrupted: Option<Interrupted>) -> Result<()>;

    /// Reads memory.
    fn read(&self, pid: Pid, addr: u64, buffer: &mut [u8]) -> Result<()>;

    /// Writes memory, growing the stack where the kernel would have.
    fn write(&mut self, pid: Pid, addr: u64, bytes: &[u8]) -> Result<()>;

    /// Stack pointer and instruction pointer.
    fn pointers(&self, pid: Pid) -> Result<(u64, u64)>;

    /// The task's blocked signals, as a bit set.
    fn signal_mask(&self, pid: Pid) -> Result<u64>;

    /// Sets them.
    fn set_signal_mask(&mut self, pid: Pid, mask: u64) -> Result<()>;

    /// Prepares a task for its release, so that it runs on by itself if this program dies from here on. It does not move.
    fn unleash(&mut self, pid: Pid) -> Result<()>;

    /// Lets go of a task. One that stands at a call makes it for real; one in [`At::Vfork`] is let go when that is over.
    fn release(&mut self, pid: Pid) -> Result<()>;
}

/// A signal, as the source's task got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    pub number: i32,
    pub info: [u8; SIGINFO_BYTES],
    pub trap: Trap,
}

/// How a call ended that a signal interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// Its result as the kernel had it, restart codes included.
    pub ret: i64,
    /// Address of the signal set that it waited with, of 8 bytes.
    pub mask: Option<u64>,
}
