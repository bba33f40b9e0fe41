//! ptrace(2), the part that this program uses, with stops as values.
//!
//! Every function must be called by the thread that seized the task: the kernel knows tracers by thread.

use std::io;

/// A task as the host numbers it.
pub type Pid = libc::pid_t;

/// General registers.
pub type Regs = libc::user_regs_struct;

/// The flag of eflags with which the CPU ignores a breakpoint at the next instruction; also set where an interrupt came inside a `rep`.
pub const RESUME_FLAG: u64 = 0x1_0000;

/// A ptrace request that failed.
#[derive(Debug, thiserror::Error)]
#[error("ptrace {what} of task {pid}: {source}")]
pub struct PtraceError {
    pub what: &'static str,
    pub pid: Pid,
    pub source: io::Error,
}

impl PtraceError {
    /// The task is gone: killed while it was stopped, say.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.source.raw_os_error() == Some(libc::ESRCH)
    }

    /// Of a task that is gone.
    #[must_use]
    pub fn gone(pid: Pid) -> Self {
        Self { what: "looking at a task", pid, source: io::Error::from_raw_os_error(libc::ESRCH) }
    }

    fn last(what: &'static str, pid: Pid) -> Self {
        Self { what, pid, source: io::Error::last_os_error() }
    }
}

/// Result of a ptrace request.
pub type Result<T> = std::result::Result<T, PtraceError>;

/// Why a task stopped, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Entry or exit of a system call; which of the two the tracer knows from how it resumed.
    Syscall,
    /// A signal is about to be delivered.
    Signal(i32),
    /// It made a task, as the host numbers it; with `vfork` it goes on when that has ended or entered another image.
    Forked { child: Pid, vfork: bool },
    /// It entered a new image.
    Execed,
    /// A new task's first stop, PTRACE_INTERRUPT, or the end of a group stop.
    Event,
    /// On its way to its end, with its memory still whole: with [`Fate::Witnessed`] alone.
    Exiting,
    /// Stopped by a stop signal with its whole process.
    Group(i32),
    /// It exited with this code.
    Exited(i32),
    /// A signal killed it.
    Killed(i32),
}

/// How a stopped task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// To the next signal or event.
    Cont,
    /// To the next system call entry or exit as well.
    Syscall,
    /// To the next system call entry; that call will not be executed.
    Sysemu,
    /// One instruction; with a signal: to the first instruction of its handler.
    Step,
    /// Stays in its group stop.
    Listen,
}

const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;

/// What happens to the tracees of this thread when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They run on untraced: the source.
    RunOn,
    /// They run on untraced; each stops before its end.
    Witnessed,
    /// They are killed, and until then their seccomp filters are not applied, since the tracer makes calls in their place: a replica.
    Die,
}

fn request(what: &'static str, number: u32, pid: Pid, addr: usize, data: usize) -> Result<i64> {
    // SAFETY: callers in this file pass addresses of live objects of the size that the request reads or writes, or numbers.
    let result = unsafe { libc::ptrace(number, pid, addr, data) };
    if result < 0 { Err(PtraceError::last(what, pid)) } else { Ok(result) }
}

fn options(fate: Fate) -> usize {
    let options = match fate {
        Fate::RunOn => OPTIONS,
        Fate::Witnessed => OPTIONS | libc::PTRACE_O_TRACEEXIT,
        Fate::Die => OPTIONS | libc::PTRACE_O_EXITKILL | libc::PTRACE_O_SUSPEND_SECCOMP,
    };
    options as usize
}

/// Traces a task and, from now on, every task that it makes. It is not stopped.
pub fn seize(pid: Pid, fate: Fate) -> Result<()> {
    request("seize", libc::PTRACE_SEIZE, pid, 0, options(fate)).map(drop)
}

/// Changes what happens to a stopped tracee when the tracer dies.
pub fn set_fate(pid: Pid, fate: Fate) -> Result<()> {
    request("setoptions", libc::PTRACE_SETOPTIONS, pid, 0, options(fate)).map(drop)
}

/// The same, and until it is changed again the seccomp filters of a stopped tracee are not applied: its tracer makes calls in its name.
pub fn suspend_seccomp(pid: Pid, fate: Fate) -> Result<()> {
    let options = options(fate) | libc::PTRACE_O_SUSPEND_SECCOMP as usize;
    request("setoptions", libc::PTRACE_SETOPTIONS, pid, 0, options).map(drop)
}

/// Stops a running tracee: a [`Stop::Event`] follows.
pub fn interrupt(pid: Pid) -> Result<()> {
    request("interrupt", libc::PTRACE_INTERRUPT, pid, 0, 0).map(drop)
}

/// Lets a stopped tracee go on, with a signal where `signal` is not 0.
pub fn resume(pid: Pid, how: Resume, signal: i32) -> Result<()> {
    let (what, number) = match how {
        Resume::Cont => ("cont", libc::PTRACE_CONT),
        Resume::Syscall => ("syscall", libc::PTRACE_SYSCALL),
        Resume::Sysemu => ("sysemu", libc::PTRACE_SYSEMU),
        Resume::Step => ("singlestep", libc::PTRACE_SINGLESTEP),
        Resume::Listen => ("listen", libc::PTRACE_LISTEN),
    };
    request(what, number, pid, 0, signal as usize).map(drop)
}

/// Ends the tracing of a stopped tracee, which runs on.
pub fn detach(pid: Pid, signal: i32) -> Result<()> {
    request("detach", libc::PTRACE_DETACH, pid, 0, signal as usize).map(drop)
}

/// General registers of a stopped tracee.
pub fn regs(pid: Pid) -> Result<Regs> {
    // SAFETY: all-zero bytes are a valid user_regs_struct, and the kernel fills one.
    let mut regs: Regs = unsafe { std::mem::zeroed() };
    request("getregs", libc::PTRACE_GETREGS, pid, 0, std::ptr::from_mut(&mut regs) as usize)?;
    Ok(regs)
}

/// Sets the general registers of a stopped tracee.
pub fn set_regs(pid: Pid, regs: &Regs) -> Result<()> {
    request("setregs", libc::PTRACE_SETREGS, pid, 0, std::ptr::from_ref(regs) as usize).map(drop)
}

/// Bytes of a siginfo in user memory.
pub const SIGINFO_BYTES: usize = 128;

/// The siginfo of the signal that a tracee in [`Stop::Signal`] is about to get.
pub fn siginfo(pid: Pid) -> Result<[u8; SIGINFO_BYTES]> {
    let mut info = [0; SIGINFO_BYTES];
    request("getsiginfo", libc::PTRACE_GETSIGINFO, pid, 0, info.as_mut_ptr() as usize)?;
    Ok(info)
}

/// Replaces it.
pub fn set_siginfo(pid: Pid, info: &[u8; SIGINFO_BYTES]) -> Result<()> {
    request("setsiginfo", libc::PTRACE_SETSIGINFO, pid, 0, info.as_ptr() as usize).map(drop)
}

/// Blocked signals of a stopped tracee, as a bit set.
pub fn sigmask(pid: Pid) -> Result<u64> {
    let mut mask = 0_u64;
    request("getsigmask", libc::PTRACE_GETSIGMASK, pid, 8, std::ptr::from_mut(&mut mask) as usize)?;
    Ok(mask)
}

/// Sets them.
pub fn set_sigmask(pid: Pid, mask: u64) -> Result<()> {
    request("setsigmask", libc::PTRACE_SETSIGMASK, pid, 8, std::ptr::from_ref(&mask) as usize).map(drop)
}

/// Signals waiting in a stopped tracee's own queue, or in its process's.
pub fn peek_signals(pid: Pid, shared: bool) -> Result<Vec<[u8; SIGINFO_BYTES]>> {
    #[repr(C)]
    struct Args {
        off: u64,
        flags: u32,
        nr: i32,
    }
    let mut infos = vec![[0_u8; SIGINFO_BYTES]; 64];
    let mut all = Vec::new();
    loop {
        let args = Args { off: all.len() as u64, flags: u32::from(shared), nr: 64 };
        let got = request(
            "peeksiginfo",
            libc::PTRACE_PEEKSIGINFO,
            pid,
            std::ptr::from_ref(&args) as usize,
            infos.as_mut_ptr() as usize,
        )?;
        let got = usize::try_from(got).unwrap_or(0);
        all.extend_from_slice(&infos[..got]);
        if got < infos.len() {
            return Ok(all);
        }
    }
}

/// Whom to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// This task.
    For(Pid),
    /// Any tracee of this thread.
    Any,
}

/// What a wait gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// A task stopped or ended.
    Stopped(Pid, Stop),
    /// None has, yet: of a wait that does not block.
    NotYet,
    /// There is no tracee left to wait for.
    Nobody,
    /// A signal to this thread ended the wait for anybody.
    Interrupted,
}

/// Waits for a stop.
pub fn wait(whom: Wait, nonblocking: bool) -> io::Result<Waited> {
    let pid = match whom {
        Wait::For(pid) => pid,
        Wait::Any => -1,
    };
    let flags = libc::__WALL | libc::__WNOTHREAD | if nonblocking { libc::WNOHANG } else { 0 };
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live int.
        let got = unsafe { libc::waitpid(pid, &raw mut status, flags) };
        if got > 0 {
            return Ok(Waited::Stopped(got, decode(got, status)?));
        }
        if got == 0 {
            return Ok(Waited::NotYet);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) if whom == Wait::Any => return Ok(Waited::Interrupted),
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(Waited::Nobody),
            _ => return Err(error),
        }
    }
}

fn decode(pid: Pid, status: i32) -> io::Result<Stop> {
    if libc::WIFEXITED(status) {
        return Ok(Stop::Exited(libc::WEXITSTATUS(status)));
    }
    if libc::WIFSIGNALED(status) {
        return Ok(Stop::Killed(libc::WTERMSIG(status)));
    }
    let signal = libc::WSTOPSIG(status);
    Ok(match (status >> 16, signal) {
        (libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE, _) => {
            let mut child = 0_u64;
            request("geteventmsg", libc::PTRACE_GETEVENTMSG, pid, 0, std::ptr::from_mut(&mut child) as usize)
                .map_err(|e| e.source)?;
            Stop::Forked { child: Pid::try_from(child).unwrap_or(0), vfork: status >> 16 == libc::PTRACE_EVENT_VFORK }
        }
        (libc::PTRACE_EVENT_EXEC, _) => Stop::Execed,
        (libc::PTRACE_EVENT_EXIT, _) => Stop::Exiting,
        (libc::PTRACE_EVENT_STOP, libc::SIGTRAP) => Stop::Event,
        (libc::PTRACE_EVENT_STOP, signal) => Stop::Group(signal),
        (_, signal) if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        (_, signal) => Stop::Signal(signal),
    })
}

/// Bit of the seventh debug register that switches the first breakpoint on, for the execution of one instruction: its other bits
/// say so with 0.
const BREAKPOINT_ON: usize = 1;
/// The debug register that switches breakpoints.
const CONTROL: usize = 7;

fn set_debug_register(pid: Pid, number: usize, value: usize) -> Result<()> {
    let at = std::mem::offset_of!(libc::user, u_debugreg) + number * size_of::<u64>();
    request("pokeuser", libc::PTRACE_POKEUSER, pid, at, value).map(drop)
}

/// Has the CPU stop a tracee, which is stopped now, before each execution of the instruction at `addr`: a SIGTRAP whose code is
/// TRAP_HWBKPT. Behind that stop the task passes the instruction when it is resumed. There is one such breakpoint a task.
///
/// # Errors
/// `EINVAL` for an address outside user memory, `ENOSPC` if the CPU's breakpoints are taken.
pub fn set_breakpoint(pid: Pid, addr: u64) -> Result<()> {
    set_debug_register(pid, CONTROL, 0)?;
    set_debug_register(pid, 0, addr as usize)?;
    set_debug_register(pid, CONTROL, BREAKPOINT_ON)
}

/// Removes it.
pub fn clear_breakpoint(pid: Pid) -> Result<()> {
    set_debug_register(pid, CONTROL, 0)
}

/// Writes eight bytes of a stopped tracee's memory, whatever its protection is; a file's page becomes the process's own.
pub fn poke(pid: Pid, addr: u64, bytes: [u8; 8]) -> Result<()> {
    request("poketext", libc::PTRACE_POKETEXT, pid, addr as usize, usize::from_ne_bytes(bytes)).map(drop)
}

/// Where a stopped tracee has its `struct rseq`, linux/rseq.h; 0 if nowhere.
pub fn rseq(pid: Pid) -> Result<u64> {
    const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
    // Its address, then size, signature, flags and padding of four bytes each.
    let mut configuration = [0_u64; 3];
    let bytes = size_of_val(&configuration);
    request("get_rseq_configuration", GET_RSEQ_CONFIGURATION, pid, bytes, configuration.as_mut_ptr() as usize)?;
    Ok(configuration[0])
}

/// Sends a signal to one task, whatever its process is. The tracer corrects its siginfo when it is about to be delivered.
pub fn tkill(tid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_tkill, tid, signal) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal to one task. The tracer corrects its siginfo when it is about to be delivered.
pub fn tgkill(tgid: Pid, tid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, signal) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The numbers that a task goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Its process, as the reader's pid namespace numbers it.
    pub tgid: Pid,
    /// The task in its innermost pid namespace.
    pub ns_tid: i32,
}

/// Reads a task's numbers from /proc/PID/status, proc(5).
pub fn numbers(pid: Pid) -> io::Result<Numbers> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str, last: bool| {
        let numbers = status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        if last { numbers.last() } else { { numbers }.next() }?.parse().ok()
    };
    let (tgid, ns_tid) = field("Tgid:", false).zip(field("NSpid:", true)).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Numbers { tgid, ns_tid })
}

/// The number that a task has in its innermost pid namespace.
pub fn namespace_tid(pid: Pid) -> io::Result<i32> {
    Ok(numbers(pid)?.ns_tid)
}

/// Whether a task has ended and waits to be reaped, as /proc/PID/stat shows it.
pub fn is_zombie(pid: Pid) -> io::Result<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

/// Reads a tracee's memory, whole or not at all.
pub fn read_memory(pid: Pid, addr: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let part = &mut buffer[done..];
        let local = libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        let remote = libc::iovec { iov_base: (addr as usize + done) as *mut libc::c_void, iov_len: part.len() };
        // SAFETY: `local` describes a live, writable buffer; the remote side is checked by the kernel.
        let got = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        match got {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got if got < 0 => return Err(io::Error::last_os_error()),
            got => done += got.unsigned_abs(),
        }
    }
    Ok(())
}

/// Writes a tracee's memory, whole or not at all past the first error.
pub fn write_memory(pid: Pid, addr: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let part = &bytes[done..];
        let local = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        let remote = libc::iovec { iov_base: (addr as usize + done) as *mut libc::c_void, iov_len: part.len() };
        // SAFETY: `local` describes a live buffer that the kernel only reads; the remote side is checked by the kernel.
        let got = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
        match got {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got if got < 0 => return Err(io::Error::last_os_error()),
            got => done += got.unsigned_abs(),
        }
    }
    Ok(())
}
