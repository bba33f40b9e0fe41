//! A process's memory at its end: what a log keeps of it, and the comparison of a replica with that.
//!
//! The source cannot be asked for pages any more, so that the log holds the bytes of those that a correct replica may have otherwise
//! and whose kind only their bytes tell: the page of each stack pointer, and those with what `cpuid` says. Of all
//! others there are hashes, and a page that differs is told by its place.

use super::compare::{Taken, is_zero_when_absent, place};
use super::error::VerifyError;
use super::hash;
use super::kind::{Kind, RED_ZONE_BYTES, holds_cpu_number};
use super::layout::{Layout, PAGE};
use super::mapping;
use super::print::{Page, Print, Space};
use super::registers::Tasks;
use crate::golive::{Bytes, Task};
use crate::sys::pagemap::PAGE_BYTES;
use crate::sys::ptrace::{self, Pid};
use crate::sys::regset;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;

/// Pages of which the bytes are kept, at most.
const KEPT_PAGES: usize = 256;
/// More than this no print unpacks to: hashes of 16 GiB.
const MAX_BYTES: u64 = 64 << 20;
/// Differing pages that are named.
const NAMED_PAGES: usize = 8;

/// Where a task stood in user code when its process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stood {
    ip: u64,
    sp: u64,
    /// Not in a call, nor behind one.
    computed: bool,
}

/// A process's memory, when all its tasks had come to their end and none had left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndPrint {
    /// By its number in the container's pid namespace.
    process: u32,
    print: Print,
    tasks: Vec<Stood>,
    /// Memory that can be shared is among the pages: nobody else was there to write it.
    objects: bool,
    bytes: Vec<(Page, Bytes)>,
}

/// A task of the replica whose process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub pid: Pid,
    pub ip: u64,
    pub sp: u64,
}

impl EndPrint {
    /// Of a process all of whose tasks, `tasks`, stand still for their tracer, the caller. `alone`: no other process of the container
    /// can write what this one shares.
    ///
    /// # Errors
    /// [`VerifyError::Io`] if the process or one of its tasks is gone.
    pub fn take(process: u32, tasks: &[Pid], alone: impl FnOnce() -> bool) -> Result<Self, VerifyError> {
        let Some(&pid) = tasks.first() else { return Err(VerifyError::Unmapped { pid: 0, page: 0 }) };
        let layout = Layout::of(&[Task { ns_tid: process.cast_signed(), host_pid: pid }])?;
        let objects = layout.shares() && alone();
        let print = layout.print_of(objects)?;
        let stood = tasks.iter().map(|&pid| stood(pid)).collect::<Result<Vec<_>, _>>()?;
        let bytes = kept(&layout, &print, &stood)?;
        Ok(Self { process, print, tasks: stood, objects, bytes })
    }

    /// The form that a log holds.
    ///
    /// # Errors
    /// Only zstd's.
    pub fn pack(&self) -> Result<Vec<u8>, VerifyError> {
        let plain = postcard::to_stdvec(self)?;
        zstd::bulk::compress(&plain, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(VerifyError::Packed)
    }

    /// Back from it, whatever the bytes are.
    ///
    /// # Errors
    /// [`VerifyError::Packed`] and [`VerifyError::Decode`] for bytes that [`Self::pack`] has not made.
    pub fn unpack(bytes: &[u8]) -> Result<Self, VerifyError> {
        let mut plain = Vec::new();
        let unpacked = zstd::stream::read::Decoder::new(bytes).and_then(|from| from.take(MAX_BYTES).read_to_end(&mut plain));
        unpacked.map_err(VerifyError::Packed)?;
        let print: Self = postcard::from_bytes(&plain)?;
        if print.bytes.iter().all(|(_, bytes)| bytes.0.len() == PAGE) {
            Ok(print)
        } else {
            Err(postcard::Error::DeserializeBadEncoding.into())
        }
    }

    /// Compares a replica's process, whose tasks `tasks` stand still for their tracer, the caller. Named are pages alone that no kind
    /// explains.
    ///
    /// # Errors
    /// [`VerifyError::Mapping`] if it maps something else.
    pub fn compare(&self, tasks: &[Standing]) -> Result<Taken, VerifyError> {
        let Some(first) = tasks.first() else { return Err(VerifyError::Unmapped { pid: 0, page: 0 }) };
        let layout = Layout::of(&[Task { ns_tid: self.process.cast_signed(), host_pid: first.pid }])?;
        mapping::difference(self.process, self.print.mappings(self.process), layout.mappings(self.process))?;
        let ours = layout.print_of(self.objects)?;
        let known = self.tasks(tasks);
        let kept: HashMap<Page, &[u8]> = self.bytes.iter().map(|(page, bytes)| (*page, bytes.0.as_slice())).collect();
        let theirs: BTreeMap<Page, hash::Hash> = self.print.pages().collect();
        let ours: BTreeMap<Page, hash::Hash> = ours.pages().collect();
        let all: BTreeSet<Page> = theirs.keys().chain(ours.keys()).copied().collect();
        let mut found = Taken { compared: all.len() as u64, ..Taken::default() };
        for page in all {
            let (their_hash, their_bytes) = match theirs.get(&page) {
                Some(hash) => (*hash, kept.get(&page).map(|bytes| bytes.to_vec())),
                // What nobody has written reads as it does here.
                None if is_zero_when_absent(page, &layout) => (hash::of_zeros(), Some(vec![0; PAGE])),
                None => match layout.of_file(page)? {
                    Some(bytes) => (hash::of(&bytes), Some(bytes)),
                    None => continue,
                },
            };
            let mut our_bytes = None;
            let our_hash = match ours.get(&page) {
                Some(hash) => *hash,
                None => hash::of(our_bytes.insert(layout.read(&[page])?)),
            };
            if our_hash == their_hash {
                continue;
            }
            let our_bytes = our_bytes.map_or_else(|| layout.read(&[page]), Ok)?;
            let sides = their_bytes.as_deref().map(|theirs| (theirs, our_bytes.as_slice()));
            let kind = Kind::of(page, sides, &layout, &known);
            *found.differing.entry(kind).or_default() += 1;
            if !kind.is_explained() && found.places.len() < NAMED_PAGES {
                found.places.push(format!("{}: {}", kind.name(), place(page, sides, &layout)));
            }
        }
        Ok(found)
    }

    /// What is to be known of the tasks to say what a page is. A task that computed is exempt only if its replica stands elsewhere.
    fn tasks(&self, replicas: &[Standing]) -> Tasks {
        let stands = |stood: &Stood| replicas.iter().any(|replica| (replica.ip, replica.sp) == (stood.ip, stood.sp));
        let computing = self.tasks.iter().any(|stood| stood.computed && !stands(stood));
        let rseq = replicas.iter().filter_map(|replica| regset::rseq_area(replica.pid)).collect();
        Tasks {
            stacks: HashMap::from([(self.process, self.tasks.iter().map(|stood| stood.sp).collect())]),
            computing: if computing { vec![self.process] } else { Vec::new() },
            rseq: HashMap::from([(self.process, rseq)]),
            ..Tasks::default()
        }
    }
}

fn stood(pid: Pid) -> Result<Stood, VerifyError> {
    let regs = ptrace::regs(pid).map_err(|error| VerifyError::Io { what: "reading the registers", pid, source: error.source })?;
    Ok(Stood { ip: regs.rip, sp: regs.rsp, computed: regs.orig_rax.cast_signed() < 0 })
}

/// The pages of which the bytes are kept.
fn kept(layout: &Layout, print: &Print, tasks: &[Stood]) -> Result<Vec<(Page, Bytes)>, VerifyError> {
    let stacks = tasks.iter().flat_map(|task| [task.sp / PAGE_BYTES, task.sp.saturating_sub(RED_ZONE_BYTES) / PAGE_BYTES]);
    let stacks: BTreeSet<u64> = stacks.collect();
    let mut kept = Vec::new();
    for (page, _) in print.pages().filter(|(page, _)| matches!(page.space, Space::Process(_))) {
        let bytes = layout.read(&[page])?;
        if stacks.contains(&page.number) || holds_cpu_number(&bytes) {
            kept.push((page, Bytes(bytes)));
        }
        if kept.len() == KEPT_PAGES {
            break;
        }
    }
    Ok(kept)
}

#[cfg(test)]
#[path = "end_tests.rs"]
mod tests;
