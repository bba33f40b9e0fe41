//! Where a signal is delivered to a task that makes no calls.
//!
//! A replica finds such a place by a breakpoint on its instruction, and pays for every time that the task comes there in vain. So it
//! should be an instruction that runs seldom. A function's return to its caller is one that the stack tells of, and the further out
//! the caller is, the seldomer it comes: the task is let run on for a moment to the furthest of some returns. Where none comes, it
//! loops, and goes on by a few instructions to one in whose place a jump can lie: a replica counts the turns by that.

use crate::clocks;
use crate::displace::Text;
use crate::sys::breakpoint::Breakpoint;
use crate::sys::mappings;
use crate::sys::ptrace::{self, Pid};
use std::ops::Range;
use std::time::Duration;

/// How much longer a task may compute until it comes to one of its returns.
pub(super) const PLACE_BOUND: Duration = Duration::from_millis(2);
/// The CPU has four breakpoints.
const RETURNS: usize = 4;
/// How much of the stack is looked through.
const STACK_BYTES: usize = 4096;
/// The longest call instruction that is recognised.
const CALL_BYTES: usize = 7;
const SIGTRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

/// A search for a place.
#[derive(Debug)]
pub(super) struct Placing {
    /// On returns of the functions that the task was in, the innermost first, or on places that it comes to soon.
    breakpoints: Vec<Breakpoint>,
    /// The furthest return that it has come to.
    seldom: Option<u64>,
    /// Whatever comes next is taken.
    last: bool,
    /// What the task's process had computed when this step of the search began.
    pub(super) since: Duration,
}

impl Placing {
    /// Begins a search. `None` if there is nothing to wait for: no return in sight, or no breakpoint to be had.
    pub(super) fn begin(pid: Pid, since: Duration) -> Option<Self> {
        let regs = ptrace::regs(pid).ok()?;
        Self::at(pid, since, returns(pid, regs.rsp), false).or_else(|| Self::near(pid, since))
    }

    /// Begins the last step: to an instruction that a jump can replace. `None` if the task stands at one, or comes to none.
    fn near(pid: Pid, since: Duration) -> Option<Self> {
        let ip = ptrace::regs(pid).ok()?.rip;
        let places = Text::around(pid, ip).ok()?.near(ip);
        if places.contains(&ip) { None } else { Self::at(pid, since, places, true) }
    }

    fn at(pid: Pid, since: Duration, addresses: Vec<u64>, last: bool) -> Option<Self> {
        if ptrace::sigmask(pid).ok()? & SIGTRAP_BIT != 0 {
            return None;
        }
        let breakpoints: Vec<_> = addresses.into_iter().map_while(|addr| Breakpoint::set(pid, addr).ok()).collect();
        if breakpoints.is_empty() { None } else { Some(Self { breakpoints, seldom: None, last, since }) }
    }

    /// The task stands at a breakpoint. True: that is the place.
    pub(super) fn hit(&mut self, ip: u64, now: Duration) -> bool {
        let Some(at) = self.breakpoints.iter().position(|breakpoint| breakpoint.addr() == ip) else { return false };
        self.breakpoints.drain(..=at);
        self.seldom = Some(ip);
        self.last || self.breakpoints.is_empty() || now.saturating_sub(self.since) > PLACE_BOUND
    }

    /// The time is over: what comes next, to the furthest return that the task has come to, or to a place near. `None` if there is
    /// nothing more to wait for.
    pub(super) fn settle(self, pid: Pid, now: Duration) -> Option<Self> {
        let Self { breakpoints, seldom, last, .. } = self;
        drop(breakpoints);
        match seldom {
            _ if last => None,
            Some(addr) => Self::at(pid, now, vec![addr], true),
            None => Self::near(pid, now),
        }
    }
}

/// Addresses on the stack that lie behind a call instruction, each once, from its pointer up.
pub(in crate::probe) fn returns(pid: Pid, sp: u64) -> Vec<u64> {
    let mut stack = vec![0; STACK_BYTES];
    // It may end before.
    while ptrace::read_memory(pid, sp, &mut stack).is_err() {
        if stack.len() <= 64 {
            return Vec::new();
        }
        stack.truncate(stack.len() / 2);
    }
    let code = executable(pid);
    let mut found = Vec::new();
    for word in stack.chunks_exact(8) {
        let addr = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        let mut before = [0; CALL_BYTES];
        if code.iter().any(|range| range.start + CALL_BYTES as u64 <= addr && addr < range.end)
            && !found.contains(&addr)
            && ptrace::read_memory(pid, addr - CALL_BYTES as u64, &mut before).is_ok()
            && ends_with_call(&before)
        {
            found.push(addr);
            if found.len() == RETURNS {
                break;
            }
        }
    }
    found
}

/// The bytes end with `call`: relative (E8), or indirect (FF /2) in its lengths.
fn ends_with_call(code: &[u8; CALL_BYTES]) -> bool {
    let indirect = |len: usize| {
        let from = CALL_BYTES - len;
        code[from] == 0xff && code[from + 1] >> 3 & 7 == 2
    };
    code[CALL_BYTES - 5] == 0xe8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}

/// Code of the program's.
fn executable(pid: Pid) -> Vec<Range<u64>> {
    let maps = mappings::text(pid).unwrap_or_default();
    let code = mappings::parse(&maps).filter(mappings::Mapping::is_executable).map(|mapping| mapping.range);
    code.filter(|range| range.start != clocks::CODE_RANGE.start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_is_told_by_the_call_before_it() {
        assert!(ends_with_call(&[0, 0, 0xe8, 1, 2, 3, 4]));
        // call *%rax, call *8(%rax), call *16(%rsp), call *0x1234(%rip), call *0x1234(%rax,%rbx,8)
        assert!(ends_with_call(&[0, 0, 0, 0, 0, 0xff, 0xd0]));
        assert!(ends_with_call(&[0, 0, 0, 0, 0xff, 0x50, 8]));
        assert!(ends_with_call(&[0, 0, 0, 0xff, 0x54, 0x24, 16]));
        assert!(ends_with_call(&[0, 0xff, 0x15, 0x34, 0x12, 0, 0]));
        assert!(ends_with_call(&[0xff, 0x94, 0xd8, 0x34, 0x12, 0, 0]));
        // jmp, push, nothing.
        assert!(!ends_with_call(&[0, 0, 0xe9, 1, 2, 3, 4]));
        assert!(!ends_with_call(&[0, 0xff, 0x35, 0x34, 0x12, 0, 0]));
        assert!(!ends_with_call(&[0x90; CALL_BYTES]));
    }
}
