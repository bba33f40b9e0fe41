//! Where the pages of a container's processes are, how they are found, read and written.
//!
//! Looked at are the pages of which a process has a copy of its own, and those of shared objects that are there:
//!
//! | mapping | pages |
//! |---|---|
//! | private, anonymous or of a file | anonymous pages, present or swapped, but for the page of zeros (`PAGEMAP_SCAN`) |
//! | shared, of memory | all that the object has (`SEEK_DATA` through /proc/PID/map_files) |
//! | shared, of a file | those that a process has touched |
//!
//! Every other page reads as zeros or as the file does, on both sides.

use super::error::VerifyError;
use super::hash;
use super::mapping::{self, Mapping, Objects, Of};
use super::print::{Hashed, Mappings, Page, Print, Space};
use crate::golive::{Bytes, Task};
use crate::sys::pagemap::{PAGE_BYTES, Pagemap, Wanted, category};
use crate::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, Whence, lseek};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const PAGE: usize = PAGE_BYTES as usize;
/// Pages that one call reads: what a processor's second cache holds.
const BATCH_PAGES: u64 = 128;
/// Threads pay from about this many pages on, and more than these share one memory bus.
const PAGES_A_THREAD: usize = 2048;
const MAX_THREADS: usize = 4;
/// How far a stack can grow below its mapping.
const MAX_STACK_BYTES: u64 = 64 << 20;

#[derive(Debug)]
struct Process {
    tid: u32,
    pid: i32,
    mappings: Vec<Mapping>,
}

/// The processes of a container that stands still, and what they map.
#[derive(Debug)]
pub struct Layout {
    processes: Vec<Process>,
}

/// Pages of one process that lie together.
#[derive(Clone, Copy, Debug)]
struct Piece {
    pid: i32,
    address: u64,
    pages: u64,
}

impl Piece {
    fn remote(&self) -> RemoteIoVec {
        let len = usize::try_from(self.pages).unwrap_or(0) * PAGE;
        RemoteIoVec { base: usize::try_from(self.address).unwrap_or(usize::MAX), len }
    }
}

impl Layout {
    /// Of these tasks; threads are left out, since their memory is their process's.
    pub fn of(tasks: &[Task]) -> Result<Self, VerifyError> {
        let mut objects = Objects::default();
        let mut processes = Vec::new();
        let mut tasks = tasks.to_vec();
        tasks.sort_by_key(|task| task.ns_tid);
        for Task { ns_tid, host_pid: pid } in tasks {
            let fail = |what| move |source| VerifyError::Io { what, pid, source };
            if ptrace::numbers(pid).map_err(fail("reading the status"))?.tgid != pid {
                continue;
            }
            let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).map_err(fail("reading the mappings"))?;
            let mappings = mapping::parse(pid, &maps, &mut objects)?;
            processes.push(Process { tid: ns_tid.unsigned_abs(), pid, mappings });
        }
        Ok(Self { processes })
    }

    /// Finds and hashes the pages.
    pub fn print(&self) -> Result<Print, VerifyError> {
        let mut spaces: Vec<(Space, Vec<(u64, u64)>, Vec<Piece>)> = Vec::new();
        let mut objects: BTreeMap<u32, BTreeMap<u64, (i32, u64)>> = BTreeMap::new();
        for process in &self.processes {
            let fail = |source| VerifyError::Io { what: "looking for the pages", pid: process.pid, source };
            let pagemap = Pagemap::open(process.pid).map_err(fail)?;
            let mut own = Vec::new();
            for mapping in &process.mappings {
                match mapping.of {
                    Of::Shared(object) => {
                        let pages = objects.entry(object).or_default();
                        for piece in shared_pages(process.pid, &pagemap, mapping).map_err(fail)? {
                            for n in 0..piece.pages {
                                let address = piece.address + n * PAGE_BYTES;
                                let number = (mapping.offset + (address - mapping.start)) / PAGE_BYTES;
                                pages.entry(number).or_insert((process.pid, address));
                            }
                        }
                    }
                    _ => own.extend(own_pages(process.pid, &pagemap, mapping).map_err(fail)?),
                }
            }
            let runs = own.iter().map(|piece| (piece.address / PAGE_BYTES, piece.pages)).collect();
            spaces.push((Space::Process(process.tid), runs, own));
        }
        for (object, pages) in objects {
            let runs = pages.keys().map(|number| (*number, 1)).collect();
            let pieces = pages.values().map(|(pid, address)| Piece { pid: *pid, address: *address, pages: 1 }).collect();
            spaces.push((Space::Object(object), runs, pieces));
        }
        let processes = self.processes.iter();
        let processes = processes.map(|process| Mappings { tid: process.tid, mappings: process.mappings.clone() }).collect();
        let pieces: Vec<&[Piece]> = spaces.iter().map(|(_, _, pieces)| pieces.as_slice()).collect();
        let hashes = hash_all(&pieces)?;
        let spaces = spaces.iter().zip(hashes);
        let spaces = spaces.map(|((space, runs, _), hashes)| Hashed { space: *space, runs: join(runs), hashes: Bytes(hashes) });
        Ok(Print { processes, spaces: spaces.collect() })
    }

    /// The bytes of these pages, one after the other. Below a stack's mapping there are zeros.
    pub fn read(&self, pages: &[Page]) -> Result<Vec<u8>, VerifyError> {
        let mut bytes = vec![0; pages.len() * PAGE];
        for (page, into) in pages.iter().zip(bytes.chunks_exact_mut(PAGE)) {
            if let Some((pid, address)) = self.find(*page, false)? {
                read_page(pid, address, into).map_err(|source| VerifyError::Io { what: "reading the memory", pid, source })?;
            }
        }
        Ok(bytes)
    }

    /// Where a page is: a process and an address in it. `None` below a stack's mapping.
    ///
    /// # Errors
    /// [`VerifyError::Unmapped`] if nobody maps it. `writable`: of an object, by a mapping that can be written.
    pub(super) fn find(&self, page: Page, writable: bool) -> Result<Option<(i32, u64)>, VerifyError> {
        match page.space {
            Space::Process(tid) => {
                let address = page.number.wrapping_mul(PAGE_BYTES);
                let process = self.processes.iter().find(|process| process.tid == tid);
                let process = process.ok_or(VerifyError::Unmapped { pid: 0, page: address })?;
                if process.mappings.iter().any(|mapping| mapping.contains(address)) {
                    return Ok(Some((process.pid, address)));
                }
                let stack = process.mappings.iter().find(|mapping| mapping.of == Of::Stack);
                let below = stack.is_some_and(|stack| address < stack.start && stack.start - address <= MAX_STACK_BYTES);
                if below { Ok(None) } else { Err(VerifyError::Unmapped { pid: process.pid, page: address }) }
            }
            Space::Object(object) => {
                let offset = page.number.wrapping_mul(PAGE_BYTES);
                let mut mappings =
                    self.processes.iter().flat_map(|process| process.mappings.iter().map(move |m| (process.pid, m)));
                let found = mappings.find(|(_, mapping)| {
                    let within = mapping.offset <= offset && offset - mapping.offset < mapping.end - mapping.start;
                    mapping.of == Of::Shared(object) && within && (!writable || mapping.is_writable())
                });
                let (pid, mapping) = found.ok_or(VerifyError::Unmapped { pid: 0, page: offset })?;
                Ok(Some((pid, mapping.start + (offset - mapping.offset))))
            }
        }
    }

    /// Changes a byte of the first page that begins with `mark`; tells which. For a fault point.
    pub fn spoil(&self, mark: &[u8]) -> Result<Option<Page>, VerifyError> {
        for (page, _) in self.print()?.pages() {
            let mut bytes = self.read(&[page])?;
            if bytes.starts_with(mark)
                && let Some((pid, address)) = self.find(page, true)?
            {
                bytes[PAGE / 2] ^= 1;
                write_page(pid, address, &bytes).map_err(|source| VerifyError::Io { what: "writing the memory", pid, source })?;
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// The mapping that holds an address of a process.
    pub(super) fn mapping(&self, tid: u32, address: u64) -> Option<&Mapping> {
        self.mappings(tid).iter().find(|mapping| mapping.contains(address))
    }

    pub(super) fn mappings(&self, tid: u32) -> &[Mapping] {
        self.processes.iter().find(|process| process.tid == tid).map_or(&[], |process| &process.mappings)
    }

    /// Numbers of the processes in the container and on the host, ascending by the first.
    pub fn processes(&self) -> impl Iterator<Item = (u32, i32)> {
        self.processes.iter().map(|process| (process.tid, process.pid))
    }
}

fn scan(pid: i32, pagemap: &Pagemap, mapping: &Mapping, wanted: Wanted) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    pagemap.scan(mapping.start, mapping.end, wanted, |region| {
        pieces.push(Piece { pid, address: region.start, pages: region.pages() });
    })?;
    Ok(pieces)
}

fn own_pages(pid: i32, pagemap: &Pagemap, mapping: &Mapping) -> io::Result<Vec<Piece>> {
    let none_of = category::FILE | category::ZERO_PAGE;
    let any_of = category::PRESENT | category::SWAPPED;
    scan(pid, pagemap, mapping, Wanted { all_of: 0, any_of, none_of, protect: false })
}

fn shared_pages(pid: i32, pagemap: &Pagemap, mapping: &Mapping) -> io::Result<Vec<Piece>> {
    match memory_object(pid, mapping)? {
        Some(file) => data(pid, &file, mapping),
        None => {
            let any_of = category::PRESENT | category::SWAPPED;
            scan(pid, pagemap, mapping, Wanted { all_of: 0, any_of, none_of: 0, protect: false })
        }
    }
}

/// The object behind a mapping, if its contents live in memory alone.
fn memory_object(pid: i32, mapping: &Mapping) -> io::Result<Option<File>> {
    let directory = format!("/proc/{pid}/map_files");
    // The names are those of the kernel's mappings, of which this may be several: any of the object will do.
    let inside = |name: &str| {
        let (start, end) = name.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        Some(mapping.start <= start && end <= mapping.end)
    };
    for entry in std::fs::read_dir(&directory)? {
        let name = entry?.file_name();
        if inside(&name.to_string_lossy()) == Some(true) {
            let file = File::open(format!("{directory}/{}", name.to_string_lossy()))?;
            let kind = nix::sys::statfs::fstatfs(&file)?.filesystem_type();
            return Ok((kind == nix::sys::statfs::TMPFS_MAGIC).then_some(file));
        }
    }
    Ok(None)
}

/// The pages of a mapping that its object has.
fn data(pid: i32, file: &File, mapping: &Mapping) -> io::Result<Vec<Piece>> {
    let end = mapping.offset + (mapping.end - mapping.start);
    let (mut at, mut pieces) = (mapping.offset, Vec::new());
    while at < end {
        let from = match lseek(file, at.cast_signed(), Whence::SeekData) {
            Ok(from) => from.unsigned_abs().min(end),
            Err(nix::Error::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let to = lseek(file, from.cast_signed(), Whence::SeekHole)?.unsigned_abs().next_multiple_of(PAGE_BYTES).min(end);
        if to > from {
            pieces.push(Piece { pid, address: mapping.start + (from - mapping.offset), pages: (to - from) / PAGE_BYTES });
        }
        at = to.max(from + PAGE_BYTES);
    }
    Ok(pieces)
}

/// Runs that follow each other become one.
fn join(runs: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for (first, count) in runs {
        match all.last_mut() {
            Some((last, pages)) if *last + *pages == *first => *pages += count,
            _ => all.push((*first, *count)),
        }
    }
    all
}

/// The hashes of the pages of each space.
fn hash_all(spaces: &[&[Piece]]) -> Result<Vec<Vec<u8>>, VerifyError> {
    let batches: Vec<(usize, Vec<Piece>)> = spaces
        .iter()
        .enumerate()
        .flat_map(|(space, pieces)| batches(pieces).into_iter().map(move |batch| (space, batch)))
        .collect();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let pages = batches.len() * usize::try_from(BATCH_PAGES).unwrap_or(1);
    let threads = pages.div_ceil(PAGES_A_THREAD).clamp(1, cpus);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Vec<u8>)>, VerifyError> {
        let (mut buffer, mut done) = (Vec::new(), Vec::new());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((_, batch)) = batches.get(at) else { return Ok(done) };
            done.push((at, hash_batch(batch, &mut buffer)?));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work()?;
        for other in others {
            let joined = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.extend(joined?);
        }
        Ok::<_, VerifyError>(done)
    })?;
    done.sort_unstable_by_key(|(at, _)| *at);
    let mut all = vec![Vec::new(); spaces.len()];
    for (at, hashes) in done {
        all[batches[at].0].extend(hashes);
    }
    Ok(all)
}

/// Pieces of at most [`BATCH_PAGES`] together, of one process each.
fn batches(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let mut all: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0;
    for piece in pieces {
        let Piece { pid, mut address, mut pages } = *piece;
        while pages > 0 {
            match all.last_mut() {
                Some(last) if room > 0 && last.last().is_some_and(|last| last.pid == pid) => {
                    let some = pages.min(room);
                    last.push(Piece { pid, address, pages: some });
                    (address, pages, room) = (address + some * PAGE_BYTES, pages - some, room - some);
                }
                _ => {
                    let some = pages.min(BATCH_PAGES);
                    all.push(vec![Piece { pid, address, pages: some }]);
                    (address, pages, room) = (address + some * PAGE_BYTES, pages - some, BATCH_PAGES - some);
                }
            }
        }
    }
    all
}

fn hash_batch(batch: &[Piece], buffer: &mut Vec<u8>) -> Result<Vec<u8>, VerifyError> {
    let remote: Vec<RemoteIoVec> = batch.iter().map(Piece::remote).collect();
    let Some(pid) = batch.first().map(|piece| piece.pid) else { return Ok(Vec::new()) };
    buffer.resize(remote.iter().map(|part| part.len).sum(), 0);
    // It stops at the first page that the process itself may not read.
    let got = process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(buffer)], &remote).unwrap_or(0);
    let addresses = batch.iter().flat_map(|piece| (0..piece.pages).map(|n| piece.address + n * PAGE_BYTES));
    for (n, address) in addresses.enumerate().skip(got / PAGE) {
        let into = &mut buffer[n * PAGE..(n + 1) * PAGE];
        read_page(pid, address, into).map_err(|source| VerifyError::Io { what: "reading the memory", pid, source })?;
    }
    Ok(buffer.chunks_exact(PAGE).flat_map(hash::of).collect())
}

/// Reads a page whatever its protection is.
fn read_page(pid: i32, address: u64, into: &mut [u8]) -> io::Result<()> {
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(into, address)
}

/// Writes a page whatever its protection is; of a private mapping.
pub(super) fn write_page(pid: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).open(format!("/proc/{pid}/mem"))?.write_all_at(bytes, address)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
