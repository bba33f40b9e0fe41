//! A new image: its vDSO is hidden, and its initial stack goes into the log.

use super::{Gate, GateEvent};
use crate::record::Record;
use crate::sys::auxv;
use crate::sys::mappings;
use crate::sys::ptrace::{self, Pid};
use migrate_common::record::{HEADER_BYTES, Header, Kind};
use std::io;

/// More than this much initial stack no image has: arguments and environment are limited to a quarter of the stack's limit.
const MAX_STACK_BYTES: u64 = 8 << 20;

impl<F: FnMut(GateEvent)> Gate<F> {
    pub(super) fn image(&mut self, pid: Pid) -> ptrace::Result<()> {
        let host_tid = pid.unsigned_abs();
        let regs = ptrace::regs(pid)?;
        match initial_stack(pid, regs.rsp) {
            Ok(stack) => {
                let head = Header {
                    len: HEADER_BYTES as u32,
                    kind: Kind::Image as u8,
                    host_tid,
                    args: [regs.rsp, regs.rip, 0, 0, 0, 0],
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
}

/// Hides the vDSO in the stack of a task at its first instruction, and returns that stack from its pointer up.
fn initial_stack(pid: Pid, sp: u64) -> io::Result<Vec<u8>> {
    let end = stack_end(pid, sp)?;
    let len = end.saturating_sub(sp).min(MAX_STACK_BYTES);
    let mut stack = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    ptrace::read_memory(pid, sp, &mut stack)?;
    if let Some(at) = auxv::hide_vdso(&mut stack) {
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
