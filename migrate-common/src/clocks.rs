//! Clock reads that are no system calls.
//!
//! A clock read by a system call costs a program ten times what the kernel's vDSO takes for it, and a record. So a process of a container
//! gets code of ours in the vDSO's place, which asks the kernel's vDSO and keeps the answer where the recorder finds it:
//!
//! ```text
//!   0x10000  code   an ELF image as the vDSO is one, read and executed
//!   0x11000  [Log]  what the process was told, the same in the replica: memory like any other
//!   0x12000  [Own]  what differs between source and replica: not compared
//! ```
//!
//! The addresses are the lowest that a process may have (`vm.mmap_min_addr`), where nothing else is; a process in which something is has
//! its clock reads as system calls. Without a call nobody sees a reading when it is made. It is told, in a
//! [`Kind::Clocks`](crate::record::Kind::Clocks) record, before whatever its task is seen to do next; the replica, where there is no
//! [`Own::real`], finds the answers in the same slots of the log.

use bytemuck::{Pod, Zeroable};

/// Where the code begins.
pub const CODE: u64 = 0x1_0000;
/// Where the [`Log`] is.
pub const LOG: u64 = 0x1_1000;
/// Where the [`Own`] is.
pub const OWN: u64 = 0x1_2000;
/// Where all of it ends.
pub const END: u64 = 0x1_3000;

/// Answers that a log holds: a power of two. The last of them is a system call's, so that no more are ever untold.
pub const SLOTS: usize = 32;
/// [`Log::magic`]: "migrclck".
pub const MAGIC: u64 = u64::from_le_bytes(*b"migrclck");
/// Bits of an answer that are nanoseconds; above them are the seconds.
pub const NANOS_BITS: u32 = 30;

/// What a process was told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Log {
    /// [`MAGIC`], where a process has a log.
    pub magic: u64,
    /// How many answers there were since the image began.
    pub count: u64,
    /// The last of them: answer `n` in slot `n % SLOTS`.
    pub answers: [u64; SLOTS],
}

/// What a side has for itself. All are addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Own {
    /// `clock_gettime` of the kernel's vDSO; 0 in a replica, which takes its answers from the log until it goes live.
    pub real: u64,
    /// The kernel's vDSO.
    pub vdso: u64,
    pub vdso_end: u64,
    /// The first instruction of a reading. What lies from there to `taken`, and within the kernel's vDSO, is different in a replica: a
    /// task that stands there is told to stand at `begin`, which it has the same registers at, and reads the clock anew.
    pub begin: u64,
    /// From here on the answer has its number, which is in `rcx`, and is in `rax`; from `kept` on it is in its slot, too.
    pub taken: u64,
    pub kept: u64,
}

/// What lies on the stack at [`Own::begin`], from the stack pointer up: registers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Frame {
    pub r8: u64,
    pub rdi: u64,
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbx: u64,
}

/// Bytes of a [`Frame`], which is also how far below `rbp` the stack pointer is.
pub const FRAME_BYTES: u64 = size_of::<Frame>() as u64;
/// The farthest that the kernel's code goes below a frame: what lies there is wiped.
pub const WIPED_BYTES: u64 = 192;
/// Words of the stack, from the pointer of a task in the middle of a reading up, in which its frame is.
pub const STACK_WORDS: usize = WIPED_BYTES as usize / 8 + FRAME_WORDS + 2;
const FRAME_WORDS: usize = FRAME_BYTES as usize / 8;

/// Flags at [`Own::begin`] that a comparison of equal numbers has set, of those that arithmetic sets: zero and parity.
pub const BEGIN_FLAGS: u64 = 0x44;
/// Flags that arithmetic sets: carry, parity, adjust, zero, sign, overflow.
pub const ARITHMETIC_FLAGS: u64 = 0x8d5;

impl Own {
    /// Whether a task that is to go on at this address may be in the middle of a reading: it is, if it has a [frame](Own::frame).
    #[must_use]
    #[inline(always)]
    pub fn reads(&self, ip: u64) -> bool {
        (ip >= self.begin && ip < self.taken) || (ip >= self.vdso && ip < self.vdso_end)
    }

    /// Where among the words of its stack the frame of a task that reads is: behind it lie what was in `rbp` and the way back into the code
    /// in front of `begin`, and nothing of the kind is below it. `None`: the task came to the kernel's vDSO in another way.
    #[must_use]
    #[inline(always)]
    pub fn frame(&self, stack: &[u64; STACK_WORDS]) -> Option<usize> {
        let mut at = 0;
        while at < STACK_WORDS - FRAME_WORDS - 1 {
            let back = stack[at + FRAME_WORDS + 1];
            if back >= CODE && back < self.begin {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    /// Whether a task that is to go on at this address has taken a number for an answer that is not in its slot yet.
    #[must_use]
    #[inline(always)]
    pub fn has_taken(&self, ip: u64) -> bool {
        ip >= self.taken && ip < self.kept
    }
}
