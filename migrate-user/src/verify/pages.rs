//! Which pages of a process are looked at:
//!
//! | mapping | pages |
//! |---|---|
//! | private, anonymous or of a file | anonymous pages, present or swapped, but for the page of zeros (`PAGEMAP_SCAN`) |
//! | shared, of memory | all that the object has (`SEEK_DATA` through /proc/PID/map_files) |
//! | shared, of a file | those that a process has touched |
//!
//! Every other page reads as zeros or as the file does, on both sides.

use super::layout::PAGE;
use super::mapping::Mapping;
use crate::sys::pagemap::{PAGE_BYTES, Pagemap, Wanted, category};
use nix::sys::uio::RemoteIoVec;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// What a page is of which there is a copy.
const ANY_COPY: u64 = category::PRESENT | category::SWAPPED;
/// What one of the process's own is not.
const NO_COPY: u64 = category::FILE | category::ZERO_PAGE;

/// Pages of one process that lie together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) pid: i32,
    pub(super) address: u64,
    pub(super) pages: u64,
}

impl Piece {
    /// The first address behind it.
    pub(super) const fn end(&self) -> u64 {
        self.address + self.pages * PAGE_BYTES
    }

    pub(super) fn remote(&self) -> RemoteIoVec {
        let len = usize::try_from(self.pages).unwrap_or(0) * PAGE;
        RemoteIoVec { base: usize::try_from(self.address).unwrap_or(usize::MAX), len }
    }
}

fn scan(pid: i32, pagemap: &Pagemap, mapping: &Mapping, wanted: Wanted) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    pagemap.scan(mapping.start, mapping.end, wanted, |region| {
        pieces.push(Piece { pid, address: region.start, pages: region.pages() });
    })?;
    Ok(pieces)
}

/// Pages of which a process has copies of its own.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) all: Vec<Piece>,
    /// Of these, those that were written since they were protected, or are not tracked.
    pub(super) written: Vec<Piece>,
}

/// A process's own pages, ascending. One scan of all addresses: a process has some hundred mappings, and each would be a call.
pub(super) fn own_pages(pid: i32, pagemap: &Pagemap, mappings: &[Mapping]) -> io::Result<Own> {
    let mut own = Own::default();
    let (Some(first), Some(last)) = (mappings.first(), mappings.last()) else { return Ok(own) };
    let mut rest = mappings;
    let wanted = Wanted { all_of: 0, any_of: ANY_COPY, none_of: NO_COPY, protect: false };
    pagemap.scan(first.start, last.end, wanted, |region| {
        while let [mapping, others @ ..] = rest
            && mapping.end <= region.start
        {
            rest = others;
        }
        // Where there is none in between, the memory is the kernel's.
        for mapping in rest.iter().take_while(|mapping| mapping.start < region.end).filter(|mapping| !mapping.is_shared()) {
            let (address, end) = (mapping.start.max(region.start), mapping.end.min(region.end));
            let piece = Piece { pid, address, pages: (end - address) / PAGE_BYTES };
            own.all.push(piece);
            if region.categories & category::WRITTEN != 0 {
                own.written.push(piece);
            }
        }
    })?;
    Ok(own)
}

/// Those of one private mapping that were written since they were protected, or are not tracked. Those that are tracked are protected in the
/// same step.
pub(super) fn protect_written(pid: i32, pagemap: &Pagemap, mapping: &Mapping) -> io::Result<Vec<Piece>> {
    let wanted = Wanted { all_of: category::WRITTEN, any_of: ANY_COPY, none_of: NO_COPY, protect: true };
    scan(pid, pagemap, mapping, wanted)
}

/// Those of an object that can be shared. True: they are the object's, whoever looks at them; else those that this process has touched.
pub(super) fn shared_pages(pid: i32, pagemap: &Pagemap, mapping: &Mapping) -> io::Result<(Vec<Piece>, bool)> {
    match memory_object(pid, mapping)? {
        Some(file) => Ok((data(pid, &file, mapping)?, true)),
        None => {
            let wanted = Wanted { all_of: 0, any_of: ANY_COPY, none_of: 0, protect: false };
            Ok((scan(pid, pagemap, mapping, wanted)?, false))
        }
    }
}

/// The object behind a mapping, if its contents live in memory alone.
fn memory_object(pid: i32, mapping: &Mapping) -> io::Result<Option<File>> {
    let Some(file) = object(pid, mapping)? else { return Ok(None) };
    let kind = nix::sys::statfs::fstatfs(&file)?.filesystem_type();
    Ok((kind == nix::sys::statfs::TMPFS_MAGIC).then_some(file))
}

/// What a mapping is of.
fn object(pid: i32, mapping: &Mapping) -> io::Result<Option<File>> {
    let directory = format!("/proc/{pid}/map_files");
    // The names are those of the kernel's mappings. This is nearly always one; to list them takes long.
    match File::open(format!("{directory}/{:x}-{:x}", mapping.start, mapping.end)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened.map(Some),
    }
    // It may be several, of which any will do.
    let inside = |name: &str| {
        let (start, end) = name.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        Some(mapping.start <= start && end <= mapping.end)
    };
    for entry in std::fs::read_dir(&directory)? {
        let name = entry?.file_name();
        if inside(&name.to_string_lossy()) == Some(true) {
            return File::open(format!("{directory}/{}", name.to_string_lossy())).map(Some);
        }
    }
    Ok(None)
}

/// A page of a mapped file, as the file has it; behind its end there are zeros.
pub(super) fn file_page(pid: i32, mapping: &Mapping, address: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = object(pid, mapping)? else { return Ok(None) };
    let (mut page, mut done) = (vec![0; PAGE], 0);
    while done < PAGE {
        match file.read_at(&mut page[done..], mapping.offset + (address - mapping.start) + done as u64)? {
            0 => break,
            got => done += got,
        }
    }
    Ok(Some(page))
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

/// Adds pages behind the last ones; runs that follow each other become one.
pub(super) fn push(runs: &mut Vec<(u64, u64)>, first: u64, count: u64) {
    match runs.last_mut() {
        Some((last, pages)) if *last + *pages == first => *pages += count,
        _ => runs.push((first, count)),
    }
}
