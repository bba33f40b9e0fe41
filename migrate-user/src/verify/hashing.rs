//! The hashes of many pages.

use super::error::VerifyError;
use super::hash::{self, Hash};
use super::layout::PAGE;
use super::memory::Memory;
use super::pages::Piece;
use crate::sys::pagemap::PAGE_BYTES;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::io::IoSliceMut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pages that one call reads: what a processor's second cache holds.
pub(super) const BATCH_PAGES: u64 = 128;
/// Threads pay from about this many pages on, and more than these share one memory bus.
const PAGES_A_THREAD: usize = 2048;
const MAX_THREADS: usize = 4;

/// The hashes of the pages of each space.
pub(super) fn hash_all(spaces: &[&[Piece]], memory: &Memory) -> Result<Vec<Vec<u8>>, VerifyError> {
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
            let hashes: Result<Vec<Hash>, VerifyError> = hash_batch(batch, memory, &mut buffer).into_iter().collect();
            done.push((at, hashes?.into_flattened()));
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
pub(super) fn batches(pieces: &[Piece]) -> Vec<Vec<Piece>> {
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

/// The hashes of a running process's pages, on this thread alone: it needs its processors itself. `None` for pages that are gone.
pub(super) fn hash_running(pieces: &[Piece], memory: &Memory) -> Vec<Option<Hash>> {
    let mut buffer = Vec::new();
    let mut all = Vec::new();
    for batch in batches(pieces) {
        all.extend(hash_batch(&batch, memory, &mut buffer).into_iter().map(Result::ok));
    }
    all
}

/// Of each page, in order.
fn hash_batch(batch: &[Piece], memory: &Memory, buffer: &mut Vec<u8>) -> Vec<Result<Hash, VerifyError>> {
    let remote: Vec<RemoteIoVec> = batch.iter().map(Piece::remote).collect();
    let Some(pid) = batch.first().map(|piece| piece.pid) else { return Vec::new() };
    buffer.resize(remote.iter().map(|part| part.len).sum(), 0);
    // It stops at the first page that the process itself may not read.
    let got = process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(buffer)], &remote).unwrap_or(0);
    let addresses = batch.iter().flat_map(|piece| (0..piece.pages).map(|n| piece.address + n * PAGE_BYTES));
    let pages = buffer.chunks_exact_mut(PAGE).zip(addresses).enumerate();
    let read = pages.map(|(n, (page, address))| {
        if n >= got / PAGE {
            memory.read(pid, address, page)?;
        }
        Ok(hash::of(page))
    });
    read.collect()
}
