//! To an exact place in user code.
//!
//! A breakpoint of the CPU on the place's instruction stops the task each time that it comes there, before the instruction, and
//! registers and memory are compared. What that costs is a stop for each time that the instruction runs: where these are many, the
//! task's own code is made to compare ([`super::detour`]). The search has a budget, and where it ends without a match there is an
//! error and never a guess.
//!
//! Nothing stops a task inside an instruction with a `rep` prefix, where an interrupt can: there it is made to run the right number
//! of turns.

use super::detour::{Detour, Order, read_original};
use super::rep::Rep;
use super::{Ptrace, Stopped, Task, call_of};
use crate::replay::backend::{At, BackendError, Result};
use crate::replay::point::Point;
use crate::sys::breakpoint::is_nobody_s;
use crate::sys::ptrace::{self, Pid, RESUME_FLAG, Resume, Stop};
use crate::sys::signals::{is_synchronous, raised_by_itself, siginfo_code};
use std::fmt;
use std::time::{Duration, Instant};

/// What a search may cost before it is given up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How often the task may be stopped at the place's instruction. A stop takes 10 to 40 µs.
    pub hits: u64,
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { hits: 200_000, time: Duration::from_secs(10) }
    }
}

/// After so many stops in vain the task compares by itself: what that takes is worth some dozens of stops.
const DETOUR_AFTER: u64 = 64;
/// `si_code` of a SIGTRAP by a breakpoint of the CPU, and by `int3`.
const TRAP_HWBKPT: i32 = 4;
const SI_KERNEL: i32 = 0x80;
const SIGTRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

/// What stops the task where it may have arrived.
#[derive(Debug)]
enum Means {
    /// A breakpoint of the CPU on the place, and why it is not a detour, once that was tried.
    Breakpoint(Option<String>),
    Detour(Box<Detour>),
}

impl Means {
    /// Code of the trap, and where the task stands then.
    fn trap(&self, ip: u64) -> (i32, u64) {
        match self {
            Self::Breakpoint(_) => (TRAP_HWBKPT, ip),
            Self::Detour(detour) => (SI_KERNEL, detour.hit()),
        }
    }

    fn detour(&self) -> Option<&Detour> {
        match self {
            Self::Breakpoint(_) => None,
            Self::Detour(detour) => Some(detour),
        }
    }
}

/// What tells a task from one at the place.
#[derive(Debug)]
enum Difference {
    Register { name: &'static str, there: u64, here: u64 },
    NoMemory { addr: u64 },
    Memory { addr: u64, there: Vec<u8>, here: Vec<u8> },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { name, there, here } => write!(f, "{name} was {here:#x} and not {there:#x}"),
            Self::NoMemory { addr } => write!(f, "there was no memory at {addr:#x}"),
            Self::Memory { addr, there, here } => write!(f, "memory at {addr:#x} was {here:02x?} and not {there:02x?}"),
        }
    }
}

impl Ptrace {
    pub(super) fn run_to_point(&mut self, pid: Pid, point: &Point) -> Result<()> {
        let at = self.task(pid)?.at;
        if at != At::User {
            return Err(BackendError::Unexpected { pid, stop: format!("{at:?}"), doing: "go to a point in user code" });
        }
        if self.difference(pid, point, None)?.is_none() {
            return Ok(());
        }
        self.pass_exit(pid, "go to a point in user code")?;
        // A trap that is blocked would take its handler away.
        let mask = ptrace::sigmask(pid)?;
        if mask & SIGTRAP_BIT != 0 {
            ptrace::set_sigmask(pid, mask & !SIGTRAP_BIT)?;
        }
        let found = self.search(pid, point, Budget::default());
        if mask & SIGTRAP_BIT != 0 && self.task(pid)?.at != At::Dead {
            ptrace::set_sigmask(pid, mask)?;
        }
        found
    }

    /// The first thing in which a task differs from the place. `None`: it is there.
    fn difference(&self, pid: Pid, point: &Point, detour: Option<&Detour>) -> Result<Option<Difference>> {
        if let Some((name, there, here)) = point.differing(&self.task(pid)?.regs) {
            return Ok(Some(Difference::Register { name, there, here }));
        }
        Ok(point.memory.iter().find_map(|(addr, bytes)| {
            let Ok(here) = read_original(pid, *addr, bytes.len(), detour) else {
                return Some(Difference::NoMemory { addr: *addr });
            };
            let at = here.iter().zip(bytes).position(|(here, there)| here != there)? & !7;
            let word = |bytes: &[u8]| bytes[at..bytes.len().min(at + 8)].to_vec();
            Some(Difference::Memory { addr: addr + at as u64, there: word(bytes), here: word(&here) })
        }))
    }

    pub(super) fn search(&mut self, pid: Pid, point: &Point, budget: Budget) -> Result<()> {
        let mut means = Means::Breakpoint(None);
        self.alarm.set(pid, budget.time);
        let found = self.search_by(pid, point, budget, &mut means);
        self.alarm.clear();
        if self.task(pid)?.at == At::Dead {
            return found;
        }
        let removed = match &means {
            Means::Breakpoint(_) => ptrace::clear_breakpoint(pid).map_err(BackendError::from),
            Means::Detour(detour) => self.remove_detour(pid, detour),
        };
        found.and(removed)
    }

    fn search_by(&mut self, pid: Pid, point: &Point, budget: Budget, means: &mut Means) -> Result<()> {
        let begun = Instant::now();
        let ip = point.regs.rip;
        let rep = Rep::at(pid, ip);
        let mut order = Order::default();
        let mut hits = 0;
        let mut differs = None;
        ptrace::set_breakpoint(pid, ip)?;
        loop {
            if self.task(pid)?.regs.rip == ip {
                if let Some(rep) = &rep {
                    self.go_inside(pid, point, rep)?;
                }
                let Some(difference) = self.difference(pid, point, means.detour())? else {
                    let task = self.task_mut(pid)?;
                    task.regs.eflags = point.regs.eflags;
                    task.dirty = true;
                    return Ok(());
                };
                self.leave_in_vain(pid, point, &difference, means, &mut order)?;
                // The nearest that it came is what tells why.
                if !(matches!(differs, Some(Difference::Memory { .. })) && matches!(difference, Difference::Register { .. })) {
                    differs = Some(difference);
                }
                if hits >= DETOUR_AFTER && rep.is_none() && matches!(means, Means::Breakpoint(None)) {
                    *means = self.take_detour(pid, point, &order)?;
                }
            }
            let mut came = false;
            if !self.alarm.is_over() {
                self.resume(pid, Resume::Sysemu, 0)?;
                came = self.wait_trap(pid, means.trap(ip))?;
            }
            if came {
                hits += 1;
                // Of a detour's trap, too.
                self.task_mut(pid)?.regs.rip = ip;
            }
            if !came || hits >= budget.hits || begun.elapsed() > budget.time {
                let mut instead = if came { "it still runs".to_owned() } else { self.where_it_is(pid, means) };
                if let Means::Breakpoint(Some(why)) = means {
                    instead += &format!(", stopped each time since {why}");
                }
                if let Some(differs) = differs {
                    instead += &format!("; where it came nearest, {differs}");
                }
                return Err(BackendError::NoSuchPoint { pid, ip, hits, elapsed: begun.elapsed(), instead });
            }
        }
    }

    /// The task is at the place's instruction, but not at the place: it is to go on, and something may be learnt from that.
    fn leave_in_vain(
        &mut self,
        pid: Pid,
        point: &Point,
        difference: &Difference,
        means: &mut Means,
        order: &mut Order,
    ) -> Result<()> {
        if let Means::Detour(detour) = means {
            if !matches!(difference, Difference::Register { .. }) {
                self.teach_detour(pid, point, detour)?;
            }
            let task = self.task_mut(pid)?;
            task.regs.rip = detour.onward();
            task.dirty = true;
            return Ok(());
        }
        let task = self.task_mut(pid)?;
        order.note(&task.regs, &point.regs);
        if task.regs.eflags & RESUME_FLAG == 0 {
            task.regs.eflags |= RESUME_FLAG;
            task.dirty = true;
        }
        Ok(())
    }

    /// Puts a detour in the breakpoint's place, if that can be.
    fn take_detour(&mut self, pid: Pid, point: &Point, order: &Order) -> Result<Means> {
        Ok(match self.lay_detour(pid, point, order)? {
            Ok(detour) => {
                ptrace::clear_breakpoint(pid)?;
                Means::Detour(Box::new(detour))
            }
            Err(why) => Means::Breakpoint(Some(why)),
        })
    }

    /// Waits until the task stands at a trap: its code and address. False: it came to a call, a fault or its end before, or the time
    /// is over.
    fn wait_trap(&mut self, pid: Pid, (code, ip): (i32, u64)) -> Result<bool> {
        loop {
            match self.wait(pid)? {
                Stop::Signal(signal) if is_synchronous(signal) => {
                    let info = ptrace::siginfo(pid)?;
                    if !raised_by_itself(signal, &info) {
                        ptrace::resume(pid, Resume::Sysemu, 0)?;
                        continue;
                    }
                    self.reload(pid, At::User)?;
                    if signal == libc::SIGTRAP && is_nobody_s(pid, &info, &self.task(pid)?.regs) {
                        ptrace::resume(pid, Resume::Sysemu, 0)?;
                        continue;
                    }
                    if signal == libc::SIGTRAP && siginfo_code(&info) == code && self.task(pid)?.regs.rip == ip {
                        return Ok(true);
                    }
                    self.set_at(pid, At::Fault(signal))?;
                    return Ok(false);
                }
                Stop::Signal(_) | Stop::Group(_) | Stop::Event if self.alarm.is_over() => {
                    self.reload(pid, At::User)?;
                    return Ok(false);
                }
                Stop::Signal(_) | Stop::Group(_) | Stop::Event => ptrace::resume(pid, Resume::Sysemu, 0)?,
                Stop::Syscall => {
                    let regs = ptrace::regs(pid)?;
                    let task = self.task_mut(pid)?;
                    let at = At::Call(call_of(&regs));
                    *task = Task { gadget: task.gadget, stop: Stopped::Emulated, ..Task::new(task.tgid, regs, at) };
                    return Ok(false);
                }
                Stop::Exited(_) | Stop::Killed(_) => {
                    self.died(pid);
                    return Ok(false);
                }
                stop => return Err(self.unexpected(pid, stop, "go to a point in user code")),
            }
        }
    }

    fn where_it_is(&self, pid: Pid, means: &Means) -> String {
        let Some(task) = self.tasks.get(&pid) else { return "it is gone".to_owned() };
        let ip = match means {
            Means::Breakpoint(_) => task.regs.rip,
            Means::Detour(detour) => detour.original(task.regs.rip),
        };
        match task.at {
            At::User => format!("it runs at {ip:#x}"),
            At::Fault(signal) => format!("it stands at Fault({signal}) at {ip:#x}"),
            at => format!("it stands at {at:x?}"),
        }
    }

    /// Before an instruction that repeats: makes those turns that lie between here and the place.
    fn go_inside(&mut self, pid: Pid, point: &Point, rep: &Rep) -> Result<()> {
        let before = self.task(pid)?.regs;
        let Some(turns) = rep.turns(&before, &point.regs) else { return Ok(()) };
        let task = self.task_mut(pid)?;
        task.regs.rcx = turns;
        task.dirty = true;
        // Behind the last turn it stops, as before the next instruction.
        ptrace::set_breakpoint(pid, point.regs.rip + rep.len)?;
        self.resume(pid, Resume::Sysemu, 0)?;
        let came = self.wait_trap(pid, (TRAP_HWBKPT, point.regs.rip + rep.len))?;
        ptrace::set_breakpoint(pid, point.regs.rip)?;
        if !came {
            let (ip, instead) = (point.regs.rip, self.where_it_is(pid, &Means::Breakpoint(None)));
            return Err(BackendError::NoSuchPoint { pid, ip, hits: 0, elapsed: Duration::ZERO, instead });
        }
        let task = self.task_mut(pid)?;
        // What is left of an early end has not been turned either.
        task.regs.rcx += before.rcx - turns;
        task.regs.rip = point.regs.rip;
        task.dirty = true;
        Ok(())
    }
}

#[cfg(test)]
#[path = "point_tests.rs"]
mod tests;
