//! One record: what the probes emit, what the log holds, what the replica is fed.
//!
//! ```text
//!   0       4     5      6      8      12     16            24
//!  +-------+-----+------+------+------+------+-------------+-------------+
//!  | len   |kind |class |flags | slot | tid  | seq         | time_ns     |
//!  +-------+-----+------+------+------+------+-------------+-------------+
//!  32      36       40            48
//!  +-------+--------+-------------+---------------------------------------+
//!  | nr    |host_tid| ret         | args[0..6]                            |
//!  +-------+--------+-------------+---------------------------------------+
//!  96
//!  +-----------------------------------------------------------------------+
//!  | payload: segments, each                                               |
//!  |   addr u64 | len u32 | zero u32 | bytes, padded with zeros to 8       |
//!  +-----------------------------------------------------------------------+
//! ```
//!
//! Little endian, 8-byte aligned. `len` counts header and payload and is a multiple of 8. A segment is what the kernel
//! wrote to user memory at `addr`: replaying an injected call is writing its segments. A payload too large for one ring
//! entry goes on in [`Kind::Piece`] entries of the same `seq` and task, which follow it in the ring; userspace joins them,
//! so a log never holds one.
//!
//! Any change of layout or meaning is a new [`VERSION`].

use bytemuck::{Pod, Zeroable};

/// Version of the record layout, of the syscall table's meaning, and so of every log.
pub const VERSION: u16 = 3;

/// The fixed part of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Header {
    /// Bytes of header and payload; a multiple of 8.
    pub len: u32,
    /// A [`Kind`].
    pub kind: u8,
    /// A [`Class`]: what the call's file descriptor is.
    pub class: u8,
    /// [`flags`].
    pub flags: u16,
    /// Which container, as an index into the recorder's tables. 0 in a log.
    pub slot: u32,
    /// The task, as its own pid namespace numbers it.
    pub tid: u32,
    /// Position in the container's log: 0, 1, 2 ... without a hole.
    pub seq: u64,
    /// CLOCK_MONOTONIC of the source's host, outside any time namespace, as the first record of the kernel's tick (1 to 10 ms) read
    /// it: exact only in calls that set a timer, of which the replica must know how much is left. Reading the clock for each record
    /// costs a probe a tenth of its time, and its digits are a quarter of a compact log.
    pub time_ns: u64,
    /// System call number for [`Kind::Syscall`], signal number for [`Kind::Signal`], else 0.
    pub nr: i32,
    /// The task as the host numbers it: for userspace on the source, 0 in a log.
    pub host_tid: u32,
    /// What the call returned.
    pub ret: i64,
    /// The call's arguments, or what the kind says.
    pub args: [u64; 6],
}

/// Bytes of a [`Header`].
pub const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 96);
const _: () = assert!(core::mem::offset_of!(Header, seq) == 16);
const _: () = assert!(core::mem::offset_of!(Header, ret) == 40);
const _: () = assert!(core::mem::offset_of!(Header, args) == 48);

/// The first word of an entry of the ring that holds several records, one behind the other, which begin [`BATCH_BYTES`] after it. No
/// record's [`Header::len`] is that.
pub const BATCH: u64 = u64::MAX;
/// Bytes of the word.
pub const BATCH_BYTES: usize = size_of::<u64>();

/// What precedes the bytes of a segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SegmentHeader {
    /// Where in the task's memory.
    pub addr: u64,
    /// How many bytes, without the padding.
    pub len: u32,
    /// Always 0.
    pub zero: u32,
}

/// Bytes of a [`SegmentHeader`].
pub const SEGMENT_BYTES: usize = size_of::<SegmentHeader>();
const _: () = assert!(SEGMENT_BYTES == 16);

/// `n` rounded up to the alignment of records and segments.
#[must_use]
pub const fn padded(n: usize) -> usize {
    (n + 7) & !7
}

/// Bytes of the kernel's struct pt_regs: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss.
pub const PT_REGS_BYTES: usize = 168;

macro_rules! byte_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$meta])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant = $value,)* }
        impl $name {
            /// The variant with this number.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

byte_enum! {
    /// What a record tells.
    Kind {
        /// A system call returned. `nr`, `ret`, `args` (rdi, rsi, rdx, r10, r8, r9 as the call left them); payload: what it
        /// wrote to user memory. Of a read or write at the offset of a file of the container's own, which the replica
        /// does itself: one segment at address 0 with that offset (u64) as the call returns. A new child's return from `clone`, and the return of `execve` in the new image, are two.
        Syscall = 1,
        /// A task made a task, told before either returns from the call. `args[0]` the child's tid, `args[1]` the child's
        /// tgid (another than the tid: a thread), `args[2]` 1 if it shares its parent's memory.
        Fork = 2,
        /// A task entered a new image. `args[0]` is 1 while the address space is laid out without randomness; `args[1]` is 1 if
        /// not the leader of its thread group made the call: that thread goes on under the leader's tid, and its own tid ends
        /// without an [`Kind::Exit`]. The log holds the agent's [`Kind::Image`] directly behind it.
        Exec = 3,
        /// A task ended. `args[0]` its exit code as wait(2) packs it.
        Exit = 4,
        /// A signal was taken from the queue. `nr` the signal; `args[0]` the handler (0 default, 1 ignore), `args[1]` the
        /// action's flags, `args[2]` orig_rax (-1 unless the task stands at a call's return), `args[3]` rip,
        /// `args[4]` the number of the last trap of the task's own that became a signal in the upper half, its error code in the
        /// lower, `args[5]` the address of the last such page fault: a handler finds them in its frame; payload: a segment at address 0, the kernel's siginfo. If it has a handler and came from outside where no call is: behind that the
        /// place, a segment at address 0 with the task's registers (struct pt_regs, 168 bytes), and memory around its stack
        /// pointer and where its registers point to; what could not be read has address 0.
        Signal = 5,
        /// More payload of the [`Kind::Syscall`] record before it; `nr` counts a record's pieces from 1. Only in the ring.
        Piece = 6,
        /// Of a container whose tasks take turns on one CPU: the task stopped running in user code, or on its way back to it, and
        /// another task of the container runs next. One that blocks in a call makes no such record: whatever comes next in the log
        /// from another task tells that. `args[0]` rip, `args[1]` rsp, `args[2]` orig_rax; payload: one segment at address 0 with
        /// the task's registers (struct pt_regs, 168 bytes), and one at rsp with the top of its stack, if that can be read.
        Switch = 7,
        /// The task of a [`Kind::Switch`] runs again.
        Resume = 8,
        /// A process was told the time without a system call ([`clocks`](crate::clocks)), or could have been: before the first record of
        /// a task of its that knows. Answers `args[0]` to `args[1]`, which is none of them any more; payload: a segment at address 0, all
        /// slots of the process's log.
        Clocks = 9,
        /// Written by the agent: the start of a new image. `args[0]` the stack pointer at its first instruction, `args[1]`
        /// rip, `args[2]` 1 if clock reads are no system calls in it ([`clocks`](crate::clocks)); payload: segments that the replica's
        /// new image must hold too: the initial stack from sp up.
        Image = 16,
    }
}

byte_enum! {
    /// What the file descriptor of a call is, as the recorder read it from the kernel's file.
    Class {
        /// The call has none, or it is not open.
        None = 0,
        /// A regular file of the container's own root or of a tmpfs: the replica has it too.
        OwnFile = 1,
        /// A directory of the same.
        OwnDir = 2,
        /// A pipe or FIFO.
        Pipe = 3,
        /// A unix socket.
        Unix = 4,
        /// An IPv4 or IPv6 socket.
        Inet = 5,
        /// Another socket: netlink, packet.
        Socket = 6,
        /// An anonymous inode: epoll, eventfd, timerfd, signalfd, inotify, pidfd.
        Anon = 7,
        /// A character device.
        Char = 8,
        /// A file or directory of another file system: /proc, /sys, a bind mount.
        Foreign = 9,
        /// None of these.
        Other = 10,
    }
}

impl Class {
    /// Any socket.
    #[must_use]
    pub const fn is_socket(self) -> bool {
        matches!(self, Self::Unix | Self::Inet | Self::Socket)
    }
}

/// Added to the number of a system call that came through the 32-bit entry (`int 0x80`), whose numbers mean other calls: no
/// row has such a number.
pub const COMPAT_NR: i32 = 0x1_0000;

/// Bits of [`Header::flags`].
pub mod flags {
    /// User memory could not be read where the call had just written: the payload is incomplete and the log ends here.
    pub const FAULT: u16 = 1;
    /// The payload did not fit the recorder's bounds: the log ends here.
    pub const TOO_LARGE: u16 = 2;
    /// `Piece` entries follow.
    pub const MORE: u16 = 4;
    /// The last piece.
    pub const LAST: u16 = 8;
    /// The file of the call's descriptor is open for appending.
    pub const APPEND: u16 = 16;
    /// Of sendfile and copy_file_range: the file that is read is the container's own.
    pub const FROM_OWN: u16 = 32;
    /// Of mmap, mremap and shmat: the memory is another task's too, or can come to be: from here on the order in which the
    /// container's tasks run is an input.
    pub const SHARED: u16 = 64;
}
