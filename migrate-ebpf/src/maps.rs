//! The recorder's maps. Userspace finds them by these names.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use migrate_common::maps::{Container, Counters, MAX_CONTAINERS, PLACES, Place, Restart, Tallies, Turn};
use migrate_common::syscalls::KRow;

use crate::batch::Batch;
use crate::clocks::Stack;
use crate::container::Asked;
use crate::descriptors::Descriptors;
use crate::emit::Entry;
use crate::known::Known;
use crate::payload::Work;
use crate::sys_exit::Call;
use crate::turns::{Left, NotImplemented};

/// This CPU's value of a per-CPU map.
#[inline(always)]
pub fn own<T>(map: &'static PerCpuArray<T>, index: u32) -> Option<&'static mut T> {
    let value = map.get_ptr_mut(index)?;
    // SAFETY: the map lives as long as the program. No other CPU sees the value, and on this one nothing else runs: the
    // programs run with preemption disabled and do not nest. Within a program nobody holds two references to one value
    // across a call that writes through the other.
    Some(unsafe { &mut *value })
}

/// Containers by [`Place::of`] their cgroup's id.
#[map]
pub static PLACED: Array<Place> = Array::with_max_entries(PLACES, 0);

/// Those whose place another has. Key: the cgroup's id.
#[map]
pub static CONTAINERS: HashMap<u64, Container> = HashMap::with_max_entries(MAX_CONTAINERS, 0);

/// By slot: the number of the next record.
#[map]
pub static SEQUENCE: Array<u64> = Array::with_max_entries(MAX_CONTAINERS, 0);

/// By slot; `seq` is not used.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(MAX_CONTAINERS, 0);

/// By slot; the loader sets how many slots have one.
#[map]
pub static TALLIES: PerCpuArray<Tallies> = PerCpuArray::with_max_entries(1, 0);

/// All containers' records. The loader sets its size.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(64 * 1024 * 1024, 0);

/// The system call table's rows by number; numbers end below [`ROWS_LEN`].
#[map]
pub static ROWS: Array<KRow> = Array::with_max_entries(ROWS_LEN, 0);
pub const ROWS_LEN: u32 = 512;

/// Choices of multiplexed calls by `choice_key`.
#[map]
pub static CHOICES: HashMap<u64, KRow> = HashMap::with_max_entries(4096, 0);

/// Host tid -> the call that ended with ERESTART_RESTARTBLOCK and that `restart_syscall` continues.
#[map]
pub static RESTARTS: HashMap<u32, Restart> = HashMap::with_max_entries(65536, 0);

/// Host tids of tasks that were sent the signal that holds them, and of which the agent has not heard yet, and why: `hold`.
#[map]
pub static HOLDS: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);

/// Host tids of tasks that make calls of the agent's in their own name, while `mode::ASIDE` is set: neither their calls nor their turns
/// are the container's.
#[map]
pub static ASIDE: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);

/// Host tids of tasks that the agent wants held behind a call, while `mode::ASKS` is set.
#[map]
pub static ASKED: HashMap<u32, u32> = HashMap::with_max_entries(4096, 0);

/// Memory, by its address in the kernel -> how many of the clock readings that are kept there have been told.
#[map]
pub static CLOCKS: HashMap<u64, u64> = HashMap::with_max_entries(65536, 0);

/// Of a task that leaves this CPU in the middle of a clock reading; index 0.
#[map]
pub static STACK: PerCpuArray<Stack> = PerCpuArray::with_max_entries(1, 0);

/// By slot: whose turn it is.
#[map]
pub static TURNS: Array<Turn> = Array::with_max_entries(MAX_CONTAINERS, 0);

/// By slot: how `Turn::left` left.
#[map]
pub static LEFT: Array<Left> = Array::with_max_entries(MAX_CONTAINERS, 0);

/// Host tids of tasks that a record tells to have left, and that have not run since; their slot.
#[map]
pub static AWAY: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);

/// Host tids of tasks in a new image that have not returned from the call that led there.
#[map]
pub static EXECS: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);

/// The last call of a container in turns that this CPU saw return ENOSYS; index 0.
#[map]
pub static NOT_IMPLEMENTED: PerCpuArray<NotImplemented> = PerCpuArray::with_max_entries(1, 0);

/// Where an entry is put together; index 0. Programs do not nest on a CPU: the kernel counts a second run as a miss.
#[map]
pub static ENTRY: PerCpuArray<Entry> = PerCpuArray::with_max_entries(1, 0);

/// What a CPU needs for nearly every record, on as few lines of its cache as can be; index 0.
#[map]
static CPU: PerCpuArray<Cpu> = PerCpuArray::with_max_entries(1, 0);

/// How far the capture of a payload is; index 0.
#[map]
pub static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

/// What the CPUs have found out, for each other; index 0.
#[map]
pub static KNOWN: Array<Known> = Array::with_max_entries(1, 0);

/// The parts of [`Cpu`], each with a function of its name that gives it. A program may hold several at a time: they do not overlap.
macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// The value of [`CPU`].
        #[repr(C)]
        struct Cpu {
            $($(#[$doc])* $name: $type,)*
        }

        $($(#[$doc])*
        #[inline(always)]
        pub fn $name() -> Option<&'static mut $type> {
            let cpu = CPU.get_ptr_mut(0)?;
            // SAFETY: as in `own`; the reference is to this part alone.
            Some(unsafe { &mut (*cpu).$name })
        })*
    };
}

parts! {
    /// The cgroup that it was last asked for.
    asked: Asked,
    /// Bytes put into the ring since it last woke the reader.
    unwoken_bytes: u64,
    /// Small records that wait to be handed to the ring.
    batch: Batch,
    /// What it knows of descriptors.
    descriptors: Descriptors,
    /// The call that returns.
    call: Call,
}
