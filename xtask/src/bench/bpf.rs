//! The kernel's statistics of eBPF programs: runs and time of each. bpf(2), include/uapi/linux/bpf.h.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};

const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
const BPF_ENABLE_STATS: i32 = 32;
/// Where `struct bpf_prog_info` holds its `name`, of 16 bytes with the final zero.
const NAME_AT: usize = 64;
const NAME_BYTES: usize = 16;

/// What one program, by name, has cost since the statistics were switched on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub runs: u64,
    pub ns: u64,
}

/// The kernel counts while this lives, and switches the counting off when nobody wants it any more.
#[derive(Debug)]
pub struct Statistics {
    _on: OwnedFd,
}

impl Statistics {
    /// Switches the statistics on. They cost some tens of nanoseconds a run themselves.
    pub fn enable() -> Result<Self> {
        // The one attribute is the kind of statistics: 0, run times.
        let fd = bpf(BPF_ENABLE_STATS, &mut [0u32]).context("the kernel keeps no statistics of eBPF programs")?;
        // SAFETY: a new descriptor that nobody else has.
        Ok(Self { _on: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The programs that a process holds, by name. The kernel keeps 15 letters of a name: those that differ later are one.
    pub fn of_process(&self, pid: i32) -> Result<BTreeMap<String, Cost>> {
        let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let folder = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))?.flatten() {
            // It may be closed since.
            let Ok(info) = fs::read_to_string(entry.path()) else { continue };
            let number = |field: &str| info.lines().find_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok());
            let (Some(id), Some(runs), Some(ns)) = (number("prog_id:"), number("run_cnt:"), number("run_time_ns:")) else {
                continue;
            };
            if seen.insert(id) {
                let cost = costs.entry(name(u32::try_from(id)?)?).or_default();
                cost.runs += runs;
                cost.ns += ns;
            }
        }
        Ok(costs)
    }
}

fn name(id: u32) -> Result<String> {
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0]).with_context(|| format!("eBPF program {id} is gone"))?;
    // SAFETY: a new descriptor that nobody else has.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = [0u8; NAME_AT + NAME_BYTES];
    let address = info.as_mut_ptr() as u64;
    let descriptor = u32::try_from(program.as_raw_fd())?;
    // bpf_fd, info_len, info.
    let mut attributes = [descriptor, info.len() as u32, address as u32, (address >> 32) as u32];
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).context("a program tells no name")?;
    let name = &info[NAME_AT..];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

fn bpf(command: i32, attributes: &mut [u32]) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most as many bytes of the attributes as it is told; an address among them is that of
    // a buffer as long as its length says, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(io::Error::last_os_error)
}
