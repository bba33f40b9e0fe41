//! What cannot be seen of a container from outside.
//!
//! Found out from `/proc` alone, at the attach: nothing of the container is touched.

use crate::sys::cgroup::Cgroup;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// include/uapi/linux/personality.h. `migrate runtime` starts containers with it, and holds the vDSO back from them.
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;

const VDSO: &str =
    "clock reads through the vDSO are not seen: under `--runtime migrate` they are system calls, each of which the log holds";
const COMPAT: &str = "a 32-bit program runs in it: its calls are counted as `32-bit`, without the bytes that they write";
const IO_URING: &str = "it uses io_uring: what comes in through the rings is not seen (under `--runtime migrate` there is none)";

/// What is known not to be seen of the processes in these cgroups.
pub(super) fn of(cgroups: &[Cgroup]) -> Vec<String> {
    let processes = cgroups.iter().flat_map(|cgroup| cgroup.processes().unwrap_or_default());
    let found: Vec<[bool; 3]> = processes
        .map(|pid| {
            let proc = Path::new("/proc").join(pid.to_string());
            [reads_clocks_unseen(&proc), is_32_bit(&proc), has_io_uring(&proc)]
        })
        .collect();
    let any = |n: usize| found.iter().any(|spots| spots[n]);
    let spots = [(any(0), VDSO), (any(1), COMPAT), (any(2), IO_URING)];
    spots.into_iter().filter(|(here, _)| *here).map(|(_, text)| text.to_owned()).collect()
}

fn reads_clocks_unseen(proc: &Path) -> bool {
    let personality = fs::read_to_string(proc.join("personality")).ok();
    personality.and_then(|text| u32::from_str_radix(text.trim(), 16).ok()).is_some_and(|bits| bits & ADDR_NO_RANDOMIZE == 0)
}

/// Byte 4 of an ELF file is its class.
fn is_32_bit(proc: &Path) -> bool {
    let mut start = [0; 5];
    let read = File::open(proc.join("exe")).and_then(|mut exe| exe.read_exact(&mut start));
    read.is_ok() && start == *b"\x7fELF\x01"
}

fn has_io_uring(proc: &Path) -> bool {
    let fds = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
    let mut links = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
    links.any(|link| link.as_os_str() == "anon_inode:[io_uring]")
}
