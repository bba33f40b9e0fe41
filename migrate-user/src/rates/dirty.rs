//! Pages that a container's processes write, told without stopping or changing them: contents are compared.
//!
//! At each sample the resident pages of every writable private mapping, and of shared memory, are found by `PAGEMAP_SCAN` and
//! read by process_vm_readv(2); a page whose hash is another than at the sample before, or that was not there then, was
//! written. Where a container has more pages than [`BUDGET_PAGES`] a fixed part of them is looked at, chosen by a hash of the
//! address, so that it is the same part each time, and the number is scaled; a part of 16,384 pages tells a tenth of the
//! pages being written to within 3 % of it, and a hundredth to within 8 %.
//!
//! Why not `PAGEMAP_SCAN` with write-protect tracking, which misses nothing: it needs a userfaultfd of the observed process's
//! memory, which only the process itself can open. It would have to be stopped and made to call userfaultfd(2) by ptrace, once
//! a process and again for each child. That breaks what this command promises:
//!
//! - A task that waits in epoll_wait(2) and some others is woken by the stop with `EINTR`, which its program sees.
//! - If this command is killed between changing the task's registers and setting them back, the task runs on with ours.
//! - A task has one tracer: containers under `migrate runtime` have the agent, which may not be displaced.
//! - Each first write to a tracked page then takes a fault of 0.7-0.9 us, in the container.
//!
//! Soft-dirty bits need a kernel option that many kernels lack, and belong to one user at a time (`clear_refs`); the kernel
//! keeps no other per-page sign of a write that can be read from outside.
//!
//! What comparing misses: a page that was written with what it held already, or back to that within an interval. Such a page
//! need not be sent again by a migration that compares, but one that trusts write protection sends it. Pages of swap are not
//! looked at. Reading takes this process's CPU time (about 30 ms for a full budget), which `agent_cpu_ns` contains, and marks
//! pages as referenced.

mod mappings;

use super::sample::{Dirty, DirtyMethod};
use crate::sys::cgroup::Cgroup;
use crate::sys::pagemap::{PAGE_BYTES, Pagemap, Region, Wanted, category};
use mappings::Mapping;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::io::{self, IoSliceMut};

/// Pages that are read at each sample, at most about: 64 MiB.
const BUDGET_PAGES: u64 = 16_384;
/// Pages that one call reads.
const READ_PAGES: usize = 256;
const PAGE: usize = PAGE_BYTES as usize;

/// Which memory a page is of: a process, or a piece of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Space {
    Process(i32),
    Shared(u64),
}

/// Pages of a container, as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// By memory and number of the page in it, from address 0 or from the mapping's start.
    hashes: HashMap<(Space, u64), u64>,
    /// Pages were looked at whose [`mix`] is at most this.
    most: Option<u64>,
}

/// Neighbouring pages of a process.
struct Run {
    pid: i32,
    space: Space,
    first_page: u64,
    /// Where the first is, in the process.
    address: u64,
    pages: u64,
}

impl Contents {
    /// Looks at the pages of all processes in these cgroups, and tells those that were written since the last look. The first
    /// look tells none.
    ///
    /// # Errors
    /// `ENOTTY` before Linux 6.7. Processes that end meanwhile are left out.
    pub(super) fn look(&mut self, cgroups: &[Cgroup]) -> io::Result<Dirty> {
        let runs = runs_of(cgroups)?;
        let watched_pages = runs.iter().map(|run| run.pages).sum();
        let most = most_for(watched_pages);
        let mut hashes = HashMap::new();
        runs.iter().for_each(|run| run.hash(most, &mut hashes));
        let before = std::mem::replace(self, Self { hashes, most: Some(most) });
        Ok(self.compare(&before, watched_pages))
    }

    fn compare(&self, before: &Self, watched_pages: u64) -> Dirty {
        let (Some(now), Some(then)) = (self.most, before.most) else {
            return Dirty { method: DirtyMethod::Contents, watched_pages, ..Dirty::default() };
        };
        // Of the pages that both looks chose; of others it is not known what they were.
        let both = now.min(then);
        let chosen = self.hashes.iter().filter(|((space, page), _)| mix(*space, *page) <= both);
        let written = chosen.filter(|(page, hash)| before.hashes.get(*page) != Some(*hash)).count() as u64;
        let looked_at = share(both);
        let pages = scale(written, looked_at).min(watched_pages);
        Dirty { method: DirtyMethod::Contents, pages, bytes: pages * PAGE_BYTES, watched_pages, looked_at }
    }
}

impl Run {
    /// Adds the hashes of the pages that are chosen. Pages that are gone by now have none.
    fn hash(&self, most: u64, hashes: &mut HashMap<(Space, u64), u64>) {
        let chosen: Vec<u64> = (0..self.pages).filter(|n| mix(self.space, self.first_page + n) <= most).collect();
        let mut buffer = vec![0; READ_PAGES * PAGE];
        for pages in chosen.chunks(READ_PAGES) {
            let remote: Vec<_> = pages.iter().map(|n| RemoteIoVec { base: self.base(*n), len: PAGE }).collect();
            let local = &mut buffer[..pages.len() * PAGE];
            // It reads until the first page that is not there.
            let read = process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(local)], &remote).unwrap_or(0);
            for (n, bytes) in pages.iter().zip(buffer[..read / PAGE * PAGE].chunks_exact(PAGE)) {
                hashes.insert((self.space, self.first_page + n), hash(bytes));
            }
        }
    }

    fn base(&self, n: u64) -> usize {
        usize::try_from(self.address + n * PAGE_BYTES).unwrap_or(usize::MAX)
    }
}

/// The resident pages of the processes in these cgroups; shared memory once.
fn runs_of(cgroups: &[Cgroup]) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut seen = HashSet::new();
    for pid in cgroups.iter().flat_map(|cgroup| cgroup.processes().unwrap_or_default()) {
        match runs_of_process(pid, &mut seen, &mut runs) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => return Err(error),
            // It has ended, or is not ours to look at.
            Err(error) => tracing::debug!(pid, %error, "a process is left out"),
            Ok(()) => {}
        }
    }
    Ok(runs)
}

fn runs_of_process(pid: i32, seen: &mut HashSet<u64>, runs: &mut Vec<Run>) -> io::Result<()> {
    let pagemap = Pagemap::open(pid)?;
    let mut shared_here = HashSet::new();
    for mapping in mappings::of(pid)? {
        let Mapping { start, end, shared } = mapping;
        if shared.is_some_and(|inode| seen.contains(&inode)) {
            continue;
        }
        shared_here.extend(shared);
        let none_of = category::ZERO_PAGE | if shared.is_none() { category::FILE } else { 0 };
        let wanted = Wanted { all_of: category::PRESENT, any_of: 0, none_of, protect: false };
        pagemap.scan(start, end, wanted, |region: Region| {
            let (space, first_page) = match shared {
                Some(inode) => (Space::Shared(inode), (region.start - start) / PAGE_BYTES),
                None => (Space::Process(pid), region.start / PAGE_BYTES),
            };
            runs.push(Run { pid, space, first_page, address: region.start, pages: region.pages() });
        })?;
    }
    seen.extend(shared_here);
    Ok(())
}

/// What [`mix`] may be at most of pages that are looked at, so that about [`BUDGET_PAGES`] are.
#[expect(clippy::cast_possible_truncation, reason = "below the budget's share of u64::MAX")]
fn most_for(watched_pages: u64) -> u64 {
    if watched_pages <= BUDGET_PAGES {
        return u64::MAX;
    }
    (u128::from(u64::MAX) * u128::from(BUDGET_PAGES) / u128::from(watched_pages)) as u64
}

/// The part of all pages whose [`mix`] is at most this.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(most: u64) -> f64 {
    most as f64 / u64::MAX as f64
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate of pages")]
fn scale(pages: u64, looked_at: f64) -> u64 {
    (pages as f64 / looked_at).round() as u64
}

/// Spreads pages evenly over all numbers, always in the same way: the finalizer of splitmix64.
fn mix(space: Space, page: u64) -> u64 {
    let salt = match space {
        Space::Process(pid) => u64::from(pid.unsigned_abs()),
        Space::Shared(inode) => inode | 1 << 63,
    };
    let mut x = page ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hash(page: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(page).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(pages: u64, most: u64, hash: impl Fn(u64) -> u64) -> Contents {
        let chosen = (0..pages).filter(|&page| mix(Space::Process(7), page) <= most);
        Contents { hashes: chosen.map(|page| ((Space::Process(7), page), hash(page))).collect(), most: Some(most) }
    }

    #[test]
    fn a_page_that_differs_or_is_new_was_written() {
        let before = contents(10, u64::MAX, |page| page);
        let now = contents(12, u64::MAX, |page| if page == 3 { 99 } else { page });
        let dirty = now.compare(&before, 12);
        assert_eq!((dirty.pages, dirty.bytes, dirty.looked_at), (3, 3 * 4096, 1.0));
        assert_eq!(now.compare(&Contents::default(), 12).pages, 0, "the first look tells none");
    }

    #[test]
    fn of_a_part_of_the_pages_all_are_estimated_also_when_the_part_changes() {
        let pages = 1_000_000;
        // Every tenth page was written.
        let written = |page: u64| if page.is_multiple_of(10) { page + 1 } else { page };
        for (then, now) in [(pages, pages), (pages, pages * 2), (pages * 2, pages)] {
            let before = contents(pages, most_for(then), |page| page);
            let dirty = contents(pages, most_for(now), written).compare(&before, pages);
            assert!((85_000..115_000).contains(&dirty.pages), "{dirty:?}");
        }
        assert!((share(most_for(pages)) - 0.016_384).abs() < 1e-6);
    }

    #[test]
    fn pages_of_this_process_that_are_written_are_told() {
        let Ok(own) = Cgroup::of(i32::try_from(std::process::id()).unwrap()) else {
            eprintln!("skipped: needs a cgroup v2 tree");
            return;
        };
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut memory = vec![1_u8; 64 * PAGE];
        let first = (memory.as_ptr() as u64).next_multiple_of(PAGE_BYTES);
        let look = |memory: &[u8]| {
            std::hint::black_box(memory);
            let run = Run { pid, space: Space::Process(pid), first_page: 0, address: first, pages: 60 };
            let mut hashes = HashMap::new();
            run.hash(u64::MAX, &mut hashes);
            Contents { hashes, most: Some(u64::MAX) }
        };
        let before = look(&memory);
        assert_eq!(before.hashes.len(), 60, "in {}", own.path().display());
        let offset = usize::try_from(first - memory.as_ptr() as u64).unwrap();
        memory[offset + 3 * PAGE] = 2;
        memory[offset + 9 * PAGE + 100] = 2;
        assert_eq!(look(&memory).compare(&before, 60).pages, 2);
    }
}
