//! Registers of the tasks: which must be equal, and which are the source's.
//!
//! | the source's task was frozen | the replica's stands | general registers | extended state |
//! |---|---|---|---|
//! | in a call, or behind one | at that call, or behind it | equal, or the move ends | equal, or taken |
//! | in a wait whose time is over by now | behind that call, which has ended | the same | the same |
//! | in user code | behind its last call | taken, with its pages: it goes on exactly there | taken |
//! | in vfork | in vfork | not looked at: it cannot be stopped there | |
//!
//! Not compared at a call: `rcx` and `r11`, which the `syscall` instruction destroys; `rax` and `orig_rax` of a call that goes on,
//! which its restart sets; flags that no program's result depends on (single step, resume); segment selectors.

use super::error::VerifyError;
use crate::clocks;
use crate::golive::{Bytes, processes};
use crate::replay::Engine;
use crate::replay::backend::{At, Backend as _};
use crate::replay::ptrace::Ptrace;
use crate::sys::ptrace::{self, Pid, Regs};
use crate::sys::regset;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// Carry, parity, adjust, zero, sign, direction, overflow.
const FLAGS: u64 = 0xcd5;

/// General registers by name.
const NAMES: [&str; 21] = [
    "rip", "rsp", "rbp", "rbx", "r12", "r13", "r14", "r15", "rdi", "rsi", "rdx", "r8", "r9", "r10", "fs_base", "gs_base",
    "eflags", "rax", "orig_rax", "rcx", "r11",
];
/// Of these, how many are compared at a call, and behind one.
const AT_CALL: usize = 17;
const BEHIND_CALL: usize = 18;

/// A stopped task's registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRegisters {
    /// In the container's pid namespace.
    pub tid: u32,
    /// In the order of the names above.
    general: [u64; NAMES.len()],
    extended: Bytes,
}

impl TaskRegisters {
    /// Of a task that stands still for its tracer, the caller. In the middle of a clock reading it is told as one that begins it.
    ///
    /// # Errors
    /// `ESRCH` if it does not.
    pub fn read(tid: u32, pid: Pid) -> io::Result<Self> {
        let regs = ptrace::regs(pid).map_err(|error| error.source)?;
        let computes = regs.orig_rax.cast_signed() < 0;
        let begins = if computes { clocks::begin_instead(pid, &regs)? } else { None };
        let regs = begins.unwrap_or(regs);
        Ok(Self { tid, general: list(&regs), extended: Bytes(regset::extended(pid)?) })
    }

    /// The freeze caught it between two calls.
    #[must_use]
    pub const fn computes(&self) -> bool {
        self.general[18].cast_signed() < 0
    }

    /// These registers, for a task that has the segment selectors of `like`.
    fn with_selectors(&self, like: &Regs) -> Regs {
        let [
            rip,
            rsp,
            rbp,
            rbx,
            r12,
            r13,
            r14,
            r15,
            rdi,
            rsi,
            rdx,
            r8,
            r9,
            r10,
            fs_base,
            gs_base,
            eflags,
            rax,
            orig_rax,
            rcx,
            r11,
        ] = self.general;
        let Regs { cs, ss, ds, es, fs, gs, .. } = *like;
        #[rustfmt::skip]
        let regs = Regs {
            rip, rsp, rbp, rbx, r12, r13, r14, r15, rdi, rsi, rdx, r8, r9, r10, fs_base, gs_base, eflags, rax, orig_rax, rcx, r11,
            cs, ss, ds, es, fs, gs,
        };
        regs
    }
}

fn list(r: &Regs) -> [u64; NAMES.len()] {
    [
        r.rip, r.rsp, r.rbp, r.rbx, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rdx, r.r8, r.r9, r.r10, r.fs_base, r.gs_base,
        r.eflags, r.rax, r.orig_rax, r.rcx, r.r11,
    ]
}

/// The first of `count` registers that differs.
fn difference(tid: u32, theirs: &[u64], ours: &[u64], count: usize) -> Result<(), VerifyError> {
    let visible = |name: &str, value: u64| if name == "eflags" { value & FLAGS } else { value };
    for (register, (theirs, ours)) in NAMES.iter().zip(theirs.iter().zip(ours)).take(count) {
        let (theirs, ours) = (visible(register, *theirs), visible(register, *ours));
        if theirs != ours {
            return Err(VerifyError::Register { tid, register, theirs, ours });
        }
    }
    Ok(())
}

/// The extended state without what says nothing of a register's value: where the last floating point instruction was, and which
/// parts the processor took the trouble to store.
fn values(extended: &[u8]) -> impl Iterator<Item = u8> {
    let parts = [0..6, 24..28, 32..464, 576..extended.len().max(576)];
    parts.into_iter().flat_map(|part| extended.get(part).unwrap_or_default().iter().copied())
}

/// What was found of the replica's tasks, and is needed to say what their pages are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Tasks whose registers were compared or taken.
    pub compared: u64,
    /// Of these, tasks that computed when the source was frozen: theirs are the source's now.
    pub taken: u64,
    /// Of the others, tasks whose extended state differed and is the source's now.
    pub extended_taken: u64,
    /// By process: where its tasks' stacks end.
    pub(super) stacks: HashMap<u32, Vec<u64>>,
    /// Processes of the tasks that were taken.
    pub(super) computing: Vec<u32>,
    /// By process: areas of rseq(2).
    pub(super) rseq: HashMap<u32, Vec<Range<u64>>>,
}

/// Compares the registers of the replica's tasks with the source's, and takes them where the log does not say where the source's
/// task was.
///
/// # Errors
/// [`VerifyError::Register`] and [`VerifyError::Task`]: replay has led to another place.
pub fn settle(engine: &mut Engine<Ptrace>, theirs: &[TaskRegisters]) -> Result<Tasks, VerifyError> {
    let mut tasks = Tasks::default();
    let live = engine.live_processes();
    // By that a [`Layout`](super::Layout) names each process.
    let lowest = processes::lowest(live.iter().copied());
    for (tgid, tid, pid) in live {
        let tid = tid.unsigned_abs();
        let has_ended_its_wait = engine.has_ended_its_wait(tid);
        let process = lowest.get(&tgid).map_or(tid, |task| task.ns_tid.unsigned_abs());
        let backend = engine.backend();
        let at = backend.at(pid);
        if at == At::Vfork {
            continue;
        }
        let lost = || VerifyError::Task { tid, why: "the source did not stop it to read its registers".to_owned() };
        let theirs = theirs.iter().find(|task| task.tid == tid).ok_or_else(lost)?;
        let ours = backend.registers(pid)?;
        match (at, theirs.computes()) {
            // The time was over before the replica could wait for the rest of it: the call has a result here and there not yet.
            (At::User, false) if has_ended_its_wait => difference(tid, &theirs.general, &list(&ours), AT_CALL)?,
            (At::Call(_), false) => difference(tid, &theirs.general, &list(&ours), AT_CALL)?,
            (At::Call(call), true) => {
                let why = format!("it computes in the source, its replica stands at call {}", call.nr);
                return Err(VerifyError::Task { tid, why });
            }
            (_, false) => difference(tid, &theirs.general, &list(&ours), BEHIND_CALL)?,
            (_, true) => {
                backend.take_registers(pid, theirs.with_selectors(&ours))?;
                tasks.taken += 1;
                tasks.computing.push(process);
            }
        }
        let fail = |source| VerifyError::Io { what: "reading or setting the registers", pid, source };
        if values(&theirs.extended).ne(values(&regset::extended(pid).map_err(fail)?)) {
            regset::set_extended(pid, &theirs.extended).map_err(fail)?;
            tasks.extended_taken += u64::from(!theirs.computes());
        }
        tasks.compared += 1;
        tasks.stacks.entry(process).or_default().push(theirs.general[1]);
        tasks.rseq.entry(process).or_default().extend(regset::rseq_area(pid));
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn general() -> [u64; NAMES.len()] {
        std::array::from_fn(|n| n as u64 + 1)
    }

    #[test]
    fn at_a_call_only_what_it_destroys_or_what_its_restart_sets_may_differ() {
        for (at, name) in NAMES.iter().enumerate() {
            let mut ours = general();
            ours[at] ^= 0x40;
            let equal = difference(7, &general(), &ours, AT_CALL).is_ok();
            assert_eq!(equal, ["rax", "orig_rax", "rcx", "r11"].contains(name), "{name}");
        }
        let mut ours = general();
        ours[17] += 1;
        let why = difference(7, &general(), &ours, BEHIND_CALL).unwrap_err().to_string();
        assert_eq!(why, "task 7 stands at another place: rax is 0x12 in the source, 0x13 in the replica");
    }

    #[test]
    fn registers_come_out_as_they_went_in() {
        // SAFETY: all-zero bytes are a valid user_regs_struct.
        let zero: Regs = unsafe { std::mem::zeroed() };
        let task = TaskRegisters { tid: 1, general: general(), extended: Bytes(Vec::new()) };
        assert_eq!(list(&task.with_selectors(&Regs { cs: 0x33, ..zero })), general());
        assert_eq!(task.with_selectors(&Regs { cs: 0x33, ..zero }).cs, 0x33);
    }

    #[test]
    fn of_the_extended_state_values_are_compared_and_not_what_was_stored() {
        let whole = vec![0_u8; 1000];
        for (at, seen) in [(0, true), (8, false), (26, true), (33, true), (470, false), (512, false), (600, true)] {
            let mut other = whole.clone();
            other[at] = 1;
            assert_eq!(values(&whole).ne(values(&other)), seen, "byte {at}");
        }
    }
}
