//! Where the pages of a container's processes are, read and written.
//!
//! Looked at are the pages of which a process has a copy of its own, and those of shared objects that are there: [`pages`]. Every
//! other page reads as zeros or as the file does, on both sides.

use super::error::VerifyError;
use super::hashing::hash_all;
use super::mapping::{self, Mapping, Objects, Of};
use super::memory::Memory;
use super::pages::{Own, Piece, file_page, own_pages, push, shared_pages};
use super::print::{Hashed, Mappings, Page, Print, Space};
use super::table::{Delta, SpaceDelta, Table, Tables};
use super::tracking::Tracking;
use crate::golive::{Bytes, Task};
use crate::sys::mappings;
use crate::sys::pagemap::{PAGE_BYTES, Pagemap};
use std::collections::{BTreeMap, HashSet};

pub(super) const PAGE: usize = PAGE_BYTES as usize;
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
    memory: Memory,
}

/// Where the pages of a space are.
struct Found {
    space: Space,
    /// All of them: the first's number, and how many.
    runs: Vec<(u64, u64)>,
    /// Those whose hashes are not known. Of an object they are all, each where a process maps it.
    fresh: Vec<Piece>,
}

impl Layout {
    /// Of these tasks, one of each process: any that has not ended shows its memory, the first may have.
    pub fn of(tasks: &[Task]) -> Result<Self, VerifyError> {
        let (mut objects, mut memory) = (Objects::default(), Memory::default());
        let mut processes = Vec::new();
        let mut tasks = tasks.to_vec();
        tasks.sort_by_key(|task| task.ns_tid);
        for Task { ns_tid, host_pid: pid } in tasks {
            let maps = mappings::text(pid).map_err(|source| VerifyError::Io { what: "reading the mappings", pid, source })?;
            let mappings = mapping::parse(pid, &maps, &mut objects)?;
            memory.open(pid)?;
            processes.push(Process { tid: ns_tid.unsigned_abs(), pid, mappings });
        }
        Ok(Self { processes, memory })
    }

    /// Finds and hashes the pages.
    pub fn print(&self) -> Result<Print, VerifyError> {
        self.print_of(true)
    }

    /// The same, with or without those of objects that can be shared.
    pub(super) fn print_of(&self, with_objects: bool) -> Result<Print, VerifyError> {
        self.look(with_objects, &Tracking::default())?.complete(&Tables::new())
    }

    /// The pages, and the hashes of those that no table of `tracking` has.
    pub fn delta(&self, tracking: &Tracking) -> Result<Delta, VerifyError> {
        self.look(true, tracking)
    }

    fn look(&self, with_objects: bool, tracking: &Tracking) -> Result<Delta, VerifyError> {
        let mut spaces: Vec<Found> = Vec::new();
        let mut objects: BTreeMap<u32, BTreeMap<u64, (i32, u64)>> = BTreeMap::new();
        // Parts of objects all of whose pages are known from another process.
        let mut whole = HashSet::new();
        for process in &self.processes {
            let fail = |source| VerifyError::Io { what: "looking for the pages", pid: process.pid, source };
            let pagemap = Pagemap::open(process.pid).map_err(fail)?;
            for mapping in &process.mappings {
                let Of::Shared(object) = mapping.of else { continue };
                let place = (object, mapping.offset, mapping.end - mapping.start);
                if !with_objects || whole.contains(&place) {
                    continue;
                }
                let (pieces, is_whole) = shared_pages(process.pid, &pagemap, mapping).map_err(fail)?;
                if is_whole {
                    whole.insert(place);
                }
                let pages = objects.entry(object).or_default();
                for piece in pieces {
                    for n in 0..piece.pages {
                        let address = piece.address + n * PAGE_BYTES;
                        let number = (mapping.offset + (address - mapping.start)) / PAGE_BYTES;
                        pages.entry(number).or_insert((process.pid, address));
                    }
                }
            }
            let own = own_pages(process.pid, &pagemap, &process.mappings).map_err(fail)?;
            let space = Space::Process(process.tid);
            let mut runs = Vec::new();
            own.all.iter().for_each(|piece| push(&mut runs, piece.address / PAGE_BYTES, piece.pages));
            let fresh = if tracking.has(process.tid, process.pid) { fresh(&own, tracking.tables().get(&space)) } else { own.all };
            spaces.push(Found { space, runs, fresh });
        }
        for (object, pages) in objects {
            let mut runs = Vec::new();
            pages.keys().for_each(|number| push(&mut runs, *number, 1));
            let pieces = pages.values().map(|(pid, address)| Piece { pid: *pid, address: *address, pages: 1 }).collect();
            spaces.push(Found { space: Space::Object(object), runs, fresh: pieces });
        }
        let processes = self.processes.iter();
        let processes = processes.map(|process| Mappings { tid: process.tid, mappings: process.mappings.clone() }).collect();
        let pieces: Vec<&[Piece]> = spaces.iter().map(|found| found.fresh.as_slice()).collect();
        let hashes = hash_all(&pieces, &self.memory)?;
        let spaces = spaces.into_iter().zip(hashes).map(|(Found { space, runs, fresh }, hashes)| {
            let mut hashed = Vec::new();
            match space {
                Space::Process(_) => fresh.iter().for_each(|piece| push(&mut hashed, piece.address / PAGE_BYTES, piece.pages)),
                Space::Object(_) => hashed.clone_from(&runs),
            }
            SpaceDelta { runs, fresh: Hashed { space, runs: hashed, hashes: Bytes(hashes) } }
        });
        Ok(Delta { processes, spaces: spaces.collect() })
    }

    pub(super) const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The bytes of these pages, one after the other. Below a stack's mapping there are zeros.
    pub fn read(&self, pages: &[Page]) -> Result<Vec<u8>, VerifyError> {
        let mut bytes = vec![0; pages.len() * PAGE];
        for (page, into) in pages.iter().zip(bytes.chunks_exact_mut(PAGE)) {
            if let Some((pid, address)) = self.find(*page, false)? {
                self.memory.read(pid, address, into)?;
            }
        }
        Ok(bytes)
    }

    /// Whether a process maps anything that can be shared.
    pub(super) fn shares(&self) -> bool {
        self.processes.iter().flat_map(|process| &process.mappings).any(|mapping| matches!(mapping.of, Of::Shared(_)))
    }

    /// The bytes of a private page of a file as the file has them. `None` for another page.
    pub(super) fn of_file(&self, page: Page) -> Result<Option<Vec<u8>>, VerifyError> {
        let Space::Process(tid) = page.space else { return Ok(None) };
        let address = page.number.wrapping_mul(PAGE_BYTES);
        let (Some(process), Some(mapping)) =
            (self.processes.iter().find(|process| process.tid == tid), self.mapping(tid, address))
        else {
            return Ok(None);
        };
        if !matches!(mapping.of, Of::File(_)) {
            return Ok(None);
        }
        let fail = |source| VerifyError::Io { what: "reading a mapped file", pid: process.pid, source };
        file_page(process.pid, mapping, address).map_err(fail)
    }

    /// Writes a page's bytes where [`Self::find`] says that it is.
    pub(super) fn write(&self, pid: i32, address: u64, bytes: &[u8]) -> Result<(), VerifyError> {
        self.memory.write(pid, address, bytes)
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
                self.write(pid, address, &bytes)?;
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// Changes a byte of the first page of a heap, or else of other memory without a file; tells which. For a fault point.
    pub fn spoil_heap(&self) -> Result<Option<Page>, VerifyError> {
        let print = self.print_of(false)?;
        for wanted in [Of::Heap, Of::Anonymous] {
            let of = |page: Page| self.processes.first().and_then(|p| self.mapping(p.tid, page.number.wrapping_mul(PAGE_BYTES)));
            let page = print.pages().find(|(page, _)| of(*page).is_some_and(|mapping| mapping.of == wanted));
            if let Some((page, _)) = page
                && let Some((pid, address)) = self.find(page, true)?
            {
                let mut bytes = self.read(&[page])?;
                bytes[PAGE / 2] ^= 1;
                self.write(pid, address, &bytes)?;
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

/// Of a process's own pages those that were written since the last pass, or that its table lacks.
fn fresh(own: &Own, table: Option<&Table>) -> Vec<Piece> {
    let none = Table::default();
    let mut known = table.unwrap_or(&none).lookup();
    let mut written = own.written.iter().peekable();
    let mut fresh: Vec<Piece> = Vec::new();
    for piece in &own.all {
        for address in (0..piece.pages).map(|n| piece.address + n * PAGE_BYTES) {
            while written.next_if(|piece| piece.end() <= address).is_some() {}
            if written.peek().is_none_or(|piece| address < piece.address) && known(address / PAGE_BYTES).is_some() {
                continue;
            }
            match fresh.last_mut() {
                Some(last) if last.end() == address => last.pages += 1,
                _ => fresh.push(Piece { pid: piece.pid, address, pages: 1 }),
            }
        }
    }
    fresh
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
