//! Values of the recorder's maps.

use bytemuck::{Pod, Zeroable};

/// Containers that one agent records at a time.
pub const MAX_CONTAINERS: u32 = 256;
/// Bytes of output that one ring entry carries; more goes on in pieces of this size.
pub const PIECE_BYTES: usize = 16 * 1024;
/// Pieces of one system call: 64 MiB. More ends the log.
pub const MAX_PIECES: u32 = 4096;

/// Key: the cgroup's id (v2 inode number). What the programs must know of a container; several cgroups may share a slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Container {
    /// Index into the per-container arrays.
    pub slot: u32,
    /// [`phase`].
    pub phase: u32,
    /// [`mode`].
    pub mode: u32,
    /// The groups that are wanted, as [`GroupSet::bits`](crate::syscalls::GroupSet::bits): calls of others leave the program
    /// early, unnumbered.
    pub groups: u32,
}

/// Places in the table of containers by the low bits of their cgroups' ids: a power of two.
pub const PLACES: u32 = 256;

/// A place of that table. Most tasks of a machine are of no container, and are told so by one look; two cgroups that share a place are looked
/// for in a map of their own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Place {
    pub container: Container,
    /// Whose that is; [`Place::NOBODY`]: no cgroup has this place; [`Place::ELSEWHERE`]: who has it is in the map.
    pub cgroup_id: u64,
}

impl Place {
    /// No cgroup has this id.
    pub const NOBODY: u64 = 0;
    pub const ELSEWHERE: u64 = u64::MAX;

    /// Where a cgroup has its place.
    #[must_use]
    pub const fn of(cgroup_id: u64) -> u32 {
        cgroup_id as u32 & (PLACES - 1)
    }
}

/// Where a container is.
pub mod phase {
    /// Its runtime is still setting it up: nothing is recorded until its pid 1 enters its first image.
    pub const SETUP: u32 = 0;
    /// Every task is recorded.
    pub const RECORDING: u32 = 1;
}

/// What is made of a container's calls. Bits of [`Container::mode`].
pub mod mode {
    /// Records in the ring. Without it nothing is numbered, and only tallies are kept.
    pub const CAPTURE: u32 = 1;
    /// A task that is traced is held when the ring fills up: a SIGURG of the kernel's, for the tracer to swallow.
    pub const HOLD: u32 = 2;
    /// The container's tasks take turns on one CPU: where they do so outside of a call is recorded.
    pub const SERIAL: u32 = 4;
    /// A task of the container makes calls of the agent's: those in the map of such tasks are to be left out.
    pub const ASIDE: u32 = 8;
    /// Tasks in the map of those that are asked for are to be held behind their next call.
    pub const ASKS: u32 = 16;
    /// Processes of the container may have clock reads that are no system calls.
    pub const CLOCKS: u32 = 32;
}

/// Why a program sent its task the signal that holds it: the value of the map of held tasks.
pub mod hold {
    /// The ring fills up: the task waits until it is drained.
    pub const FILLING: u32 = 0;
    /// It has just come by memory that another task can have, too: the tasks must take turns before it goes on.
    pub const SHARED: u32 = 1;
    /// It has held the CPU for long, and others wait: stopping and going on puts it behind them.
    pub const ROTATE: u32 = 2;
    /// It has changed how it, or another task, is scheduled.
    pub const SCHEDULED: u32 = 3;
    /// The agent has asked for it: it is to open what tracks the writes to its memory.
    pub const TRACKED: u32 = 4;
}

/// Of a container whose tasks take turns on one CPU: who runs, and who left. By slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Turn {
    /// CLOCK_MONOTONIC since when the task of the container that ran last has held the CPU; a preemption by others does not count.
    pub since_ns: u64,
    /// That task, as the host numbers it.
    pub task: u32,
    /// And as its own pid namespace does.
    pub tid: u32,
    /// Real-time tasks that could run on the CPU when it left, itself included if it could.
    pub runnable: u32,
    /// 1 if it left because it waits for something.
    pub waits: u32,
    /// A task that left outside of a call, of which no record tells yet; 0: none.
    pub left: u32,
    pub reserved: u32,
    /// Where that was in user code, and its stack pointer; both 0 behind a call.
    pub ip: u64,
    pub sp: u64,
    /// When it was last looked whether others wait for this turn's end.
    pub looked_ns: u64,
}

/// What has been seen and lost of a container.
///
/// Each record ends in exactly one of three numbers, `seen = emitted + too_large + ring_full`, and all CPUs' `seen` make up `seq` once no
/// program runs for the container and nothing waits on a CPU to be handed to the ring. They count records, however many pieces a record
/// has. `seq` is the one number that the CPUs share, in a map of its own; the others are a CPU's each and are summed to be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Counters {
    /// Records numbered by all CPUs, which is the next `seq`. A record is numbered before room in the ring is asked for, so a
    /// loss leaves a hole.
    pub seq: u64,
    /// Records numbered by this CPU that have ended in one of these ways.
    pub seen: u64,
    /// Records that the ring took whole.
    pub emitted: u64,
    /// Records whose payload was over the bounds: the ring took them, but cut short.
    pub too_large: u64,
    /// Records that the ring had no room for, or for one of their pieces.
    pub ring_full: u64,
    /// Records, of `emitted`, whose payload could not be read.
    pub faults: u64,
    /// Bytes that the ring took: headers and payloads, of records and pieces.
    pub bytes: u64,
}

/// Calls of one number on one kind of descriptor that a CPU has seen of a container.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tally {
    pub events: u64,
    /// Bytes of input, as far as row, arguments and result tell without a look at memory: what a log would carry as payload, but
    /// for lengths that the kernel wrote to memory.
    pub bytes: u64,
}

/// The value of the map of tallies: by [`tally::at`]. One a slot and CPU.
pub type Tallies = [Tally; tally::LEN];

/// Places in [`Tallies`].
pub mod tally {
    use crate::record::Kind;

    /// Calls on whatever is no socket come first, calls on sockets in the second half.
    pub const SOCKET: usize = 512;
    pub const LEN: usize = 2 * SOCKET;
    /// A number that no row has.
    pub const UNKNOWN: usize = SOCKET - 1;
    /// A record that is no system call is counted here, by its [`Kind`].
    pub const KINDS: usize = 480;

    /// The place of a kind of record that is no system call.
    #[must_use]
    pub const fn of(kind: Kind) -> usize {
        KINDS + kind as usize
    }
}

/// Byte offsets of kernel fields, read from the kernel's BTF at load: Rust's eBPF has no CO-RE.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Offsets {
    // What nearly every call asks for comes first: on few lines of the cache.
    pub regs_ip: u32,
    pub task_cgroups: u32,
    pub css_set_cgroup: u32,
    pub task_pid: u32,
    pub task_thread_status: u32,
    pub task_flags: u32,
    pub regs_orig_ax: u32,
    pub regs_di: u32,
    pub regs_si: u32,
    pub regs_dx: u32,
    pub regs_r10: u32,
    pub regs_r8: u32,
    pub regs_r9: u32,
    pub task_mm: u32,
    pub task_files: u32,
    pub files_fdt: u32,
    pub fdt_max_fds: u32,
    pub fdt_fd: u32,
    /// Where 64 bytes begin that hold inode, flags, private data and operations; `u32::MAX` if they lie further apart.
    pub file_window: u32,
    pub file_inode: u32,
    pub file_flags: u32,
    pub file_private: u32,
    pub file_op: u32,
    pub socket_ops: u32,
    pub task_thread_pid: u32,
    pub pid_level: u32,
    pub pid_numbers: u32,
    pub upid_bytes: u32,
    pub upid_nr: u32,
    pub task_trap_number: u32,
    pub task_trap_error: u32,
    pub task_trap_address: u32,
    pub task_group_leader: u32,
    pub mm_users: u32,
    pub task_fs: u32,
    pub task_exit_code: u32,
    pub task_personality: u32,
    pub task_ptrace: u32,
    pub task_blocked: u32,
    pub task_pending: u32,
    pub cgroup_kn: u32,
    pub kernfs_node_id: u32,
    pub task_cfs_rq: u32,
    pub cfs_rq_rq: u32,
    pub rq_rt_running: u32,
    pub fs_root_dentry: u32,
    pub dentry_sb: u32,
    pub file_pos: u32,
    /// As `file_window`, of mode and superblock.
    pub inode_window: u32,
    pub inode_mode: u32,
    pub inode_sb: u32,
    pub sb_magic: u32,
    pub socket_sk: u32,
    pub socket_type: u32,
    pub sock_family: u32,
    pub regs_ax: u32,
    pub regs_sp: u32,
    pub sigaction_handler: u32,
    pub sigaction_flags: u32,
    pub restart_nanosleep_expires: u32,
    pub restart_futex_time: u32,
    pub restart_poll_has_timeout: u32,
    pub restart_poll_seconds: u32,
    pub restart_poll_nanos: u32,
}

/// A call that was interrupted in a wait and goes on as `restart_syscall`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Restart {
    /// Its number.
    pub nr: i32,
    pub reserved: u32,
    /// When its wait is over, on the clock that it waits by: CLOCK_MONOTONIC of the host for all but `clock_nanosleep` of
    /// another. 0: never, or not known.
    pub until_ns: u64,
}

impl Offsets {
    /// What a program has before the loader overwrites it.
    pub const ZERO: Self = bytemuck::zeroed();
}

/// What the programs that silence a container's network device know.
pub mod mute {
    use bytemuck::{Pod, Zeroable};

    /// Everything passes.
    pub const PASS: u32 = 0;
    /// No TCP connection can be opened from outside: an incoming SYN without ACK is dropped.
    pub const NO_NEW_CONNECTIONS: u32 = 1;
    /// Nothing passes, either way.
    pub const SILENT: u32 = 2;

    /// Bytes of a container's id.
    pub const ID_BYTES: usize = 64;

    /// The value of the map. The id is for userspace: after a restart an agent finds the map by it.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
    pub struct State {
        pub mode: u32,
        pub id: [u8; ID_BYTES],
    }
}
