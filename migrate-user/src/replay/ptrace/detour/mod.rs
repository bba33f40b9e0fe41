//! A breakpoint with a condition: a jump in the replica's own code, to a [`stub`] that compares what the place tells and stops the
//! task only where that is equal.
//!
//! A turn of a loop costs some nanoseconds more, where a stop takes 10 to 40 µs. The other tasks of the process do not run meanwhile,
//! and when the search ends, however it does, the code is as before and the stub is gone.

mod order;
mod room;
mod stub;

pub(super) use order::Order;

use super::Ptrace;
use crate::displace::{Displaced, Refusal, Text};
use crate::replay::backend::{At, Backend as _, BackendError, Result};
use crate::replay::point::Point;
use crate::sys::mappings;
use crate::sys::pagemap::PAGE_BYTES;
use crate::sys::ptrace::{self, Pid};
use stub::{Stub, WORDS};

/// Pages of a stub, in bytes.
const STUB_BYTES: u64 = 2 * PAGE_BYTES;
/// Offset of `rseq_cs` in struct rseq.
const RSEQ_CS: u64 = 8;

/// A jump that lies in a task's code, and what it leads to.
#[derive(Debug)]
pub(super) struct Detour {
    stub: Stub,
    /// What lay where the jump does, from `at` on.
    at: u64,
    before: [u8; 8],
    /// Words of memory that the stub compares.
    words: Vec<u64>,
}

impl Detour {
    /// Behind the stub's trap.
    pub(super) fn hit(&self) -> u64 {
        self.stub.hit
    }

    /// Where a task goes on that was stopped there, and is not where it should be.
    pub(super) fn onward(&self) -> u64 {
        self.stub.displaced
    }

    /// The program's address of what stands at `ip`.
    pub(super) fn original(&self, ip: u64) -> u64 {
        self.stub.original(ip).unwrap_or(ip)
    }

    /// The program's own bytes in what was read from `addr` on: where the jump lies, those that it lies on.
    fn undo_in(&self, addr: u64, bytes: &mut [u8]) {
        for (at, before) in (self.at..).zip(self.before) {
            if let Some(byte) = at.checked_sub(addr).and_then(|offset| bytes.get_mut(usize::try_from(offset).ok()?)) {
                *byte = before;
            }
        }
    }
}

/// What lies in the task's memory, as if there were no detour.
pub(super) fn read_original(pid: Pid, addr: u64, len: usize, detour: Option<&Detour>) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    ptrace::read_memory(pid, addr, &mut bytes)?;
    if let Some(detour) = detour {
        detour.undo_in(addr, &mut bytes);
    }
    Ok(bytes)
}

impl Ptrace {
    /// Lays a jump at a place where the task stands.
    ///
    /// # Errors
    /// The inner one says why the code stays as it is.
    pub(super) fn lay_detour(&mut self, pid: Pid, point: &Point, order: &Order) -> Result<std::result::Result<Detour, String>> {
        let ip = point.regs.rip;
        let displaced = match Text::around(pid, ip).and_then(|text| text.displace(ip)) {
            Ok(displaced) => displaced,
            Err(refusal) => return Ok(Err(refusal.to_string())),
        };
        if in_critical_section(pid) {
            return Ok(Err("a restartable sequence is registered".to_owned()));
        }
        let Some(at) = self.map_stub(pid, ip)? else { return Ok(Err(format!("no room near {ip:#x}"))) };
        match self.fill(pid, at, point, &displaced, order) {
            Ok(Ok(detour)) => Ok(Ok(detour)),
            other => {
                self.unmap_stub(pid, at)?;
                other.map(|refused| refused.map_err(|refusal| refusal.to_string()))
            }
        }
    }

    /// Two pages that a jump at `ip` reaches. `None`: there are none.
    fn map_stub(&mut self, pid: Pid, ip: u64) -> Result<Option<u64>> {
        let fail = |source| BackendError::Io { what: "reading the mappings", pid, source };
        let maps = mappings::text(pid).map_err(fail)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        for at in room::near(mappings::parse(&maps), ip, STUB_BYTES) {
            let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
            let args = [at, STUB_BYTES, protection, flags as u64, u64::MAX, 0];
            let ret = self.execute(pid, libc::SYS_mmap as i32, args)?;
            if ret == at.cast_signed() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn unmap_stub(&mut self, pid: Pid, at: u64) -> Result<()> {
        self.execute(pid, libc::SYS_munmap as i32, [at, STUB_BYTES, 0, 0, 0, 0]).map(drop)
    }

    fn fill(
        &mut self,
        pid: Pid,
        at: u64,
        point: &Point,
        displaced: &Displaced,
        order: &Order,
    ) -> Result<std::result::Result<Detour, Refusal>> {
        let ip = displaced.ip;
        let stub = match Stub::new(at, &point.regs, displaced, &order.by_difference()) {
            Ok(stub) => stub,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.write(pid, at, &stub.code)?;
        self.write(pid, at + PAGE_BYTES, bytemuck::bytes_of(&stub.data))?;
        let readable = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let ret = self.execute(pid, libc::SYS_mprotect as i32, [at, PAGE_BYTES, readable, 0, 0, 0])?;
        // Eight bytes are written at once; where the mapping ends behind the jump, those before it.
        let mut before = [0; 8];
        let back = if ptrace::read_memory(pid, ip, &mut before).is_ok() { 0 } else { 3 };
        let unreadable = ptrace::read_memory(pid, ip - back, &mut before).is_err();
        let from = back as usize;
        // What is there now must be what was relocated.
        if ret != 0 || unreadable || before[from..from + 5] != displaced.bytes[..5] {
            return Ok(Err(Refusal::NoText(ip)));
        }
        let mut jump = before;
        jump[from] = 0xe9;
        let by = at.wrapping_sub(ip + 5) as u32;
        jump[from + 1..from + 5].copy_from_slice(&by.to_le_bytes());
        ptrace::poke(pid, ip - back, jump)?;
        Ok(Ok(Detour { stub, at: ip - back, before, words: Vec::new() }))
    }

    /// The stub stopped the task in vain, for memory is another there: a word that shows it is compared from now on, too.
    pub(super) fn teach_detour(&mut self, pid: Pid, point: &Point, detour: &mut Detour) -> Result<()> {
        let number = detour.words.len();
        if number == WORDS {
            return Ok(());
        }
        if let Some((addr, word)) = differing_word(pid, point, detour) {
            detour.words.push(addr);
            let (at, words) = detour.stub.compare_word(number, addr, word);
            self.write(pid, at, bytemuck::bytes_of(&words))?;
        }
        Ok(())
    }

    /// The code as it was, and the stub gone. A task that was inside stands at the instruction that it stood for.
    pub(super) fn remove_detour(&mut self, pid: Pid, detour: &Detour) -> Result<()> {
        ptrace::poke(pid, detour.at, detour.before)?;
        let task = self.task_mut(pid)?;
        let ip = detour.original(task.regs.rip);
        if ip != task.regs.rip {
            task.regs.rip = ip;
            task.dirty = true;
        }
        // At a fault no call can be made. That ended the search in vain, and nobody asks for its signal any more.
        let at = task.at;
        if matches!(at, At::Fault(_)) {
            task.at = At::User;
        }
        let result = self.unmap_stub(pid, detour.stub.at);
        self.set_at(pid, at)?;
        result
    }
}

/// The first word of the place's memory that is another in the task, of those that the detour does not compare: its address, and what it
/// should be.
fn differing_word(pid: Pid, point: &Point, detour: &Detour) -> Option<(u64, u64)> {
    point.memory.iter().find_map(|(addr, bytes)| {
        let here = read_original(pid, *addr, bytes.len(), Some(detour)).ok()?;
        let words = bytes.chunks_exact(8).zip(here.chunks_exact(8));
        let differing =
            (*addr..).step_by(8).zip(words).find(|(addr, (there, here))| there != here && !detour.words.contains(addr));
        differing.and_then(|(addr, (there, _))| Some((addr, u64::from_ne_bytes(there.try_into().ok()?))))
    })
}

/// Another address would end a restartable sequence, rseq(2). A kernel that does not tell has none.
fn in_critical_section(pid: Pid) -> bool {
    let Ok(area @ 1..) = ptrace::rseq(pid) else { return false };
    let mut section = [0; 8];
    ptrace::read_memory(pid, area + RSEQ_CS, &mut section).is_ok_and(|()| section != [0; 8])
}

#[cfg(test)]
mod tests;
