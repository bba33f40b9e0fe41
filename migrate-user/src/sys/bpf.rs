//! bpf(2) where aya does not reach: a program's statistics, and attaching one that is shared between threads.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// include/uapi/linux/bpf.h
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_ENABLE_STATS: libc::c_int = 32;
const BPF_STATS_RUN_TIME: u32 = 0;

/// What the kernel has counted of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramStats {
    /// Runs, and the time that they took, while somebody had switched that on: [`enable_stats`].
    pub runs: u64,
    pub run_time_ns: u64,
    /// Runs that were skipped because the program was running on the CPU already. Counted always.
    pub missed: u64,
}

/// struct bpf_prog_info, Linux 5.12; the fields before are not looked at.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    before: [u64; 24],
    run_time_ns: u64,
    run_cnt: u64,
    recursion_misses: u64,
}
const _: () = assert!(std::mem::offset_of!(ProgramInfo, run_time_ns) == 192);

/// The parts of union bpf_attr for the two commands.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

/// Attaches a loaded `tp_btf` program for as long as the descriptor is open.
///
/// # Errors
/// As bpf(2).
pub fn attach_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    /// union bpf_attr, `raw_tracepoint`: the program itself knows its tracepoint, so that no name is given.
    #[repr(C)]
    struct Attr {
        name: u64,
        program: u32,
        zero: u32,
    }
    let attr = Attr { name: 0, program: program.as_raw_fd().cast_unsigned(), zero: 0 };
    // SAFETY: `attr` is what the command expects; it returns a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &raw const attr, size_of::<Attr>()) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What has been counted of the program behind `fd`.
///
/// # Errors
/// As bpf(2).
pub fn program_stats(fd: BorrowedFd<'_>) -> io::Result<ProgramStats> {
    let mut info = ProgramInfo::default();
    #[expect(clippy::cast_possible_truncation, reason = "some 200 bytes")]
    let len = size_of::<ProgramInfo>() as u32;
    let mut attr = InfoAttr { fd: fd.as_raw_fd().cast_unsigned(), len, info: std::ptr::from_mut(&mut info) as u64 };
    // SAFETY: `attr` is what the command expects; the kernel writes at most `len` bytes to `info`, which outlives the call. Its
    // other fields are zero: no lists are asked for.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw mut attr, size_of::<InfoAttr>()) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ProgramStats { runs: info.run_cnt, run_time_ns: info.run_time_ns, missed: info.recursion_misses })
}

/// Makes the kernel count all programs' runs and their time for as long as the descriptor is open. Costs each run some 20 ns.
///
/// # Errors
/// As bpf(2); Linux 5.8.
pub fn enable_stats() -> io::Result<OwnedFd> {
    let attr = BPF_STATS_RUN_TIME;
    // SAFETY: the command takes the kind of statistics as the attribute's first word and returns a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_ENABLE_STATS, &raw const attr, size_of::<u32>()) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
