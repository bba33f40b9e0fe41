//! The system call table: for every call of the kernel one row, and from the row everything else: what the probes capture,
//! how the replica handles the call, `migrate syscalls`, docs/syscalls.md.

mod group;
mod kernel;
mod x86_64;

pub use group::{Group, GroupSet};
pub use kernel::{KOut, KRow, MAX_OUTS, choice_key, krow_flags, len_kind, when_kind};
pub use x86_64::TABLE;

/// The kernel that the table was counted against.
pub const KERNEL: &str = "6.18";

/// One system call.
#[derive(Debug)]
pub struct Row {
    /// Number on x86-64.
    pub nr: u16,
    /// The kernel's name.
    pub name: &'static str,
    /// What it is for, whatever its descriptor is.
    pub group: Group,
    /// Which descriptor of the call decides its [`Class`](crate::record::Class).
    pub fd: Fd,
    /// What the replica does with it, when it succeeded. A call that failed is always injected, special ones aside.
    pub policy: Policy,
    /// What the kernel writes to user memory.
    pub outs: &'static [Out],
    /// Calls that are many in one (`ioctl`, `fcntl`, `prctl` ...): the argument that chooses, and the choices. A value
    /// without one has the row's own policy and outputs.
    pub select: Option<Select>,
}

/// The choices of a multiplexed call.
#[derive(Debug)]
pub struct Select {
    /// Index of the argument that chooses.
    pub arg: u8,
    /// What each value means.
    pub choices: &'static [Choice],
}

/// One value of a multiplexed call's argument.
#[derive(Debug)]
pub struct Choice {
    pub value: u32,
    pub name: &'static str,
    pub policy: Policy,
    pub outs: &'static [Out],
}

/// A call's file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fd {
    /// No descriptor matters.
    None,
    /// Argument.
    Arg(u8),
    /// The one that it returned.
    Ret,
}

/// What the replica does with a call that succeeded in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Not executed: the result and the bytes of the log are written.
    Inject,
    /// Executed; the result must equal the log's, and so must the outputs that the row lists. Others follow from the replica's
    /// state, which is the source's.
    Reissue,
    /// Executed; the result must equal the log's. Then the log's bytes are written over its outputs.
    ReissueInject,
    /// On the container's own files as [`Policy::Reissue`] with the length that the source had, else as [`Policy::Inject`].
    OwnElseInject,
    /// Output: executed on the container's own files and on the pipes that were its standard output, with the length that the
    /// source had; to the outside not executed.
    Output,
    /// By a function of the replay engine of its own.
    Special(Special),
    /// The replica cannot follow: the container is not migratable once it has made the call. Says why.
    Refuse(&'static str),
}

/// Calls that the replay engine knows by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// fork, vfork, clone, clone3.
    Fork,
    /// execve, execveat.
    Exec,
    /// exit, exit_group.
    Exit,
    /// wait4, waitid: reaps the same child.
    Wait,
    /// rt_sigreturn.
    Sigreturn,
    /// restart_syscall: the log's outputs of the call that it continues.
    Restart,
    /// accept, accept4: a stand-in socket takes the place of the connection.
    Accept,
    /// connect: to the outside injected, between unix sockets of the container executed.
    Connect,
    /// sendmsg: executed where it passes descriptors.
    SendMsg,
    /// recvmsg: executed where it receives descriptors.
    RecvMsg,
    /// open, openat, openat2, creat.
    Open,
    /// sendfile: moves the file offset.
    Sendfile,
    /// Locks that wait: executed as their form that does not.
    Lock,
    /// mmap: of a file that the replica has not, refused.
    Mmap,
    /// Calls that swap the signal mask while they wait: rt_sigsuspend, ppoll, pselect6, epoll_pwait.
    MaskedWait,
    /// shutdown: between unix sockets of the container executed.
    Shutdown,
    /// Timers that end in a signal: kept in mind, not armed before the replica goes live.
    Timer,
    /// setsockopt: executed on the stand-in; what a stand-in does not take is set again when its connection is built.
    Setsockopt,
    /// semop, semtimedop: executed as their form that does not wait.
    Semop,
    /// msgsnd, msgrcv: the same; what is received must be the log's.
    MsgQueue,
    /// mq_timedsend, mq_timedreceive: the same.
    PosixQueue,
}

/// One output of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out {
    /// The argument that points to it.
    pub arg: u8,
    pub len: Len,
    pub when: When,
}

/// How many bytes an output has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Len {
    /// This many.
    Const(u32),
    /// The result times this.
    Ret(u32),
    /// The result, but not more than this argument says: `recv` with MSG_TRUNC returns what it did not write.
    RetCap(u8),
    /// The result and this many bytes before it: a message with its type.
    RetPlus(u32),
    /// The value of an argument times this.
    Arg(u8, u32),
    /// The u32 at the address that an argument holds, as the call left it.
    Deref(u8),
    /// Bits of as many descriptors as an argument says, in words of 64: select's sets.
    Bits(u8),
    /// The argument is an iovec array whose length another argument gives: the result's bytes, scattered.
    Iov(u8),
    /// The argument is a msghdr: name, control and flags, and the result's bytes scattered over its iovec.
    Msghdr,
    /// An array of mmsghdr, result many.
    Mmsghdr,
    /// A byte for each page of the length that an argument gives: mincore.
    Pages(u8),
}

/// When an output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The result is not negative.
    Ok,
    /// The result is above 0.
    Positive,
    /// The result is not negative, or a signal ended the wait: the events of `poll`, none then.
    Waited,
    /// Always: time left of a sleep that was interrupted.
    Always,
}

/// A signal ended a call's wait with this result: EINTR, or a code of the kernel's to decide about a restart.
#[must_use]
#[inline(always)]
pub const fn was_interrupted(ret: i64) -> bool {
    // ERESTART_RESTARTBLOCK to ERESTARTSYS.
    ret == -4 || (ret >= -516 && ret <= -512)
}

/// The row of a call.
#[must_use]
pub fn row(nr: i32) -> Option<&'static Row> {
    let nr = u16::try_from(nr).ok()?;
    TABLE.binary_search_by_key(&nr, |row| row.nr).ok().map(|at| &TABLE[at])
}

impl Row {
    /// Reads or writes where the file stands, which tasks may share: read, write, readv, writev. Its record tells where the file
    /// stood then, so that a replica sees an order that is not the one of the log.
    #[must_use]
    pub fn moves_offset(&self) -> bool {
        matches!(self.nr, 0 | 1 | 19 | 20)
    }

    /// Policy and outputs for a call with these arguments.
    #[must_use]
    pub fn resolve(&self, args: &[u64; 6]) -> (Policy, &'static [Out]) {
        if let Some(select) = &self.select
            && let Some(choice) = select.choice(args[select.arg as usize])
        {
            return (choice.policy, choice.outs);
        }
        (self.policy, self.outs)
    }
}

impl Select {
    /// What this value of the argument means. Choosers are ints in the kernel: only 32 bits count.
    #[must_use]
    pub fn choice(&self, value: u64) -> Option<&'static Choice> {
        #[expect(clippy::cast_possible_truncation, reason = "the kernel looks at 32 bits")]
        let value = value as u32;
        self.choices.iter().find(|choice| choice.value == value)
    }
}
