//! Which pages of a process are resident, or were written: the `PAGEMAP_SCAN` ioctl on `/proc/PID/pagemap` (Linux 6.7).
//!
//! Layouts and constants: include/uapi/linux/fs.h; behaviour: Documentation/admin-guide/mm/pagemap.rst and
//! fs/proc/task_mmu.c. A scan holds the process's mmap lock for reading and stops nobody.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 4096;
/// Regions that one call returns at most.
const REGIONS: usize = 1024;

/// Categories of a page.
pub mod category {
    /// It is write-protected by a userfaultfd whose tracking is asynchronous, or was until it was written.
    pub const WRITE_PROTECT_ALLOWED: u64 = 1;
    /// It was written since it was write-protected; of a page without tracking always.
    pub const WRITTEN: u64 = 1 << 1;
    /// It is of a file or of shared memory.
    pub const FILE: u64 = 1 << 2;
    pub const PRESENT: u64 = 1 << 3;
    pub const SWAPPED: u64 = 1 << 4;
    /// It is the page of zeros that every process shares.
    pub const ZERO_PAGE: u64 = 1 << 5;
}

/// struct page_region
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    pub categories: u64,
}

impl Region {
    /// How many pages it has.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        (self.end - self.start) / PAGE_BYTES
    }
}

/// struct pm_scan_arg
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const _: () = assert!(size_of::<ScanArg>() == 96 && size_of::<Region>() == 24);

/// Write-protects what is returned, in the same step.
const PM_SCAN_WP_MATCHING: u64 = 1;

nix::ioctl_readwrite!(pagemap_scan, b'f', 16, ScanArg);

/// Which pages a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Categories that a page must be of.
    pub all_of: u64,
    /// Categories of which it must be of one; 0: of any or none.
    pub any_of: u64,
    /// Categories that it must not be of.
    pub none_of: u64,
    /// Write-protect the pages again that are returned. Each has to be tracked by a userfaultfd.
    pub protect: bool,
}

/// A process's page map, open.
#[derive(Debug)]
pub struct Pagemap(File);

impl Pagemap {
    /// # Errors
    /// `ENOENT` and `ESRCH` if there is no such process, `EACCES` without the right to trace it.
    pub fn open(pid: i32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/pagemap")).map(Self)
    }

    /// Hands the regions of wanted pages from `start` to `end` to `each`, in order. Neighbours with equal categories come as
    /// one region.
    ///
    /// # Errors
    /// `ENOTTY` before Linux 6.7, `ESRCH` if the process has ended, `EPERM` where `protect` is asked for and nothing tracks.
    pub fn scan(&self, start: u64, end: u64, wanted: Wanted, mut each: impl FnMut(Region)) -> io::Result<()> {
        let mut regions = [Region::default(); REGIONS];
        let mut from = start;
        while from < end {
            let mut arg = ScanArg {
                size: size_of::<ScanArg>() as u64,
                flags: if wanted.protect { PM_SCAN_WP_MATCHING } else { 0 },
                start: from,
                end,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                category_inverted: wanted.none_of,
                category_mask: wanted.all_of | wanted.none_of,
                category_anyof_mask: wanted.any_of,
                return_mask: category::WRITTEN | category::PRESENT | category::FILE,
                ..ScanArg::default()
            };
            // SAFETY: the kernel reads and writes one ScanArg of the size that it tells, and writes at most `vec_len` regions
            // to `regions`, which lives until the call returns.
            let found = unsafe { pagemap_scan(self.0.as_raw_fd(), &raw mut arg) }?;
            let found = usize::try_from(found).unwrap_or(0);
            regions[..found].iter().copied().for_each(&mut each);
            // A full vector alone ends a walk early. Where it ended `walk_end` does not tell: behind more than 512 regions it is that of an
            // earlier step of the kernel's (do_pagemap_scan, Linux 6.18).
            match regions[..found].last() {
                Some(last) if found == REGIONS => from = last.end,
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    use std::num::NonZeroUsize;

    #[test]
    fn pages_that_were_touched_are_present_and_others_are_not() {
        let bytes = NonZeroUsize::new(16 * 4096).unwrap();
        // SAFETY: a new private mapping that this test alone uses.
        let at =
            unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE) }.unwrap();
        let start = at.as_ptr() as u64;
        for page in [0, 1, 5] {
            // SAFETY: within the mapping.
            unsafe { at.cast::<u8>().add(page * 4096).write_volatile(1) };
        }
        // SAFETY: within the mapping; reading maps the page of zeros.
        unsafe { at.cast::<u8>().add(9 * 4096).read_volatile() };
        let wanted =
            Wanted { all_of: category::PRESENT, any_of: 0, none_of: category::FILE | category::ZERO_PAGE, protect: false };
        let mut found = Vec::new();
        let pagemap = Pagemap::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let scanned = pagemap.scan(start, start + 16 * 4096, wanted, |region| found.push((region.start - start, region.pages())));
        // SAFETY: the mapping is not used behind this.
        unsafe { munmap(at, 16 * 4096) }.unwrap();
        match scanned {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => eprintln!("skipped: needs Linux 6.7"),
            scanned => {
                scanned.unwrap();
                // Huge pages may make more of the mapping present than was touched.
                assert!(found == [(0, 2), (5 * 4096, 1)] || found == [(0, 16)], "{found:?}");
            }
        }
    }
}
