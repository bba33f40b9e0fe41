//! A new image: what it has in its vDSO's place, and its initial stack, which goes into the log.

use super::standing::{Failed, Standing};
use super::{Gate, GateEvent};
use crate::clocks::{self, Side};
use crate::probe::serial::Policy;
use crate::record::Record;
use crate::sys::auxv;
use crate::sys::mappings;
use crate::sys::ptrace::{self, Pid, Resume, Stop, Waited};
use migrate_common::clocks::CODE;
use migrate_common::record::{HEADER_BYTES, Header, Kind};
use std::io;

/// More than this much initial stack no image has: arguments and environment are limited to a quarter of the stack's limit.
const MAX_STACK_BYTES: u64 = 8 << 20;

impl<F: FnMut(GateEvent)> Gate<F> {
    pub(super) fn image(&mut self, pid: Pid) -> ptrace::Result<()> {
        let host_tid = pid.unsigned_abs();
        let reads_clocks = self.install_clocks(pid)?;
        let regs = ptrace::regs(pid)?;
        match initial_stack(pid, regs.rsp, reads_clocks) {
            Ok(stack) => {
                let head = Header {
                    len: HEADER_BYTES as u32,
                    kind: Kind::Image as u8,
                    host_tid,
                    args: [regs.rsp, regs.rip, reads_clocks.into(), 0, 0, 0],
                    ..Header::default()
                };
                let mut record = Record { head, payload: Vec::new() };
                record.push_segment(regs.rsp, &stack);
                (self.tell)(GateEvent::Image { host_tid, record });
            }
            Err(error) => {
                let why = format!("the first stack of a new image could not be read or changed: {error}");
                (self.tell)(GateEvent::NotMigratable { host_tid, why });
            }
        }
        Ok(())
    }

    /// Has clock reads of the image made without a call, if that can be. The task stands in its exec.
    fn install_clocks(&mut self, pid: Pid) -> ptrace::Result<bool> {
        let (Some((slot, _)), Some(recorder)) = (&self.tracks, self.recorder.clone()) else { return Ok(false) };
        let slot = *slot;
        // Where tasks never take turns, each of their calls would have to be asked whether they have read a clock.
        let takes_turns = self.serial.as_ref().is_some_and(|serial| serial.policy() != Policy::Never);
        if !recorder.options().clocks || !takes_turns {
            return Ok(false);
        }
        // Behind the call its registers are its own.
        ptrace::resume(pid, Resume::Syscall, 0)?;
        match self.lone.wait(pid) {
            Ok(Waited::Stopped(_, Stop::Syscall)) => {}
            Ok(Waited::Stopped(_, stop)) => return self.ended_at_exec(pid, stop),
            _ => return Err(ptrace::PtraceError::gone(pid)),
        }
        let installed = Standing::of(pid, self.fate, &self.lone).and_then(|standing| {
            standing.aside(&recorder, slot, |standing| {
                let write = |addr, bytes: &[u8]| Ok(ptrace::write_memory(pid, addr, bytes)?);
                clocks::install(pid, Side::Source, |nr, args| standing.call(nr, args), write)
            })
        });
        match installed {
            Ok(installed) => Ok(installed),
            Err(Failed::Ended(stop)) => self.ended_at_exec(pid, stop),
            Err(Failed::Gone) => Err(ptrace::PtraceError::gone(pid)),
            Err(failed) => {
                tracing::debug!(pid, %failed, "clock reads of an image are system calls");
                Ok(false)
            }
        }
    }

    fn ended_at_exec(&mut self, pid: Pid, stop: Stop) -> ptrace::Result<bool> {
        self.handle(pid, stop)?;
        Err(ptrace::PtraceError::gone(pid))
    }
}

/// Says in the stack of a task at its first instruction what it has in the vDSO's place, and returns that stack from its pointer up.
fn initial_stack(pid: Pid, sp: u64, reads_clocks: bool) -> io::Result<Vec<u8>> {
    let end = stack_end(pid, sp)?;
    let len = end.saturating_sub(sp).min(MAX_STACK_BYTES);
    let mut stack = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    ptrace::read_memory(pid, sp, &mut stack)?;
    let changed = if reads_clocks { auxv::replace_vdso(&mut stack, CODE) } else { auxv::hide_vdso(&mut stack) };
    if let Some(at) = changed {
        ptrace::write_memory(pid, sp + at as u64, &stack[at..at + 8])?;
    }
    Ok(stack)
}

/// End of the mapping that holds the stack pointer.
fn stack_end(pid: Pid, sp: u64) -> io::Result<u64> {
    let maps = mappings::text(pid)?;
    let found = mappings::parse(&maps).find(|mapping| mapping.range.contains(&sp));
    found.map(|mapping| mapping.range.end).ok_or_else(|| io::Error::other("no mapping holds the stack pointer"))
}
