//! To an exact place in user code.
//!
//! A breakpoint of the CPU on the place's instruction stops the task each time that it comes there, before the instruction, and
//! registers and memory are compared. What that costs is a stop for each time that the instruction runs, so the search has a
//! budget, and where it ends without a match there is an error and never a guess.
//!
//! No breakpoint stops a task inside an instruction with a `rep` prefix, where an interrupt can: there it is made to run the
//! right number of turns.

use super::{Ptrace, Stopped, Task, call_of};
use crate::replay::backend::{At, BackendError, Result};
use crate::replay::point::Point;
use crate::sys::ptrace::{self, Pid, RESUME_FLAG, Regs, Resume, Stop};
use crate::sys::signals::{is_synchronous, raised_by_itself, siginfo_code};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a search may cost before it is given up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How often the task may come to the place's instruction. A stop takes 10 to 40 µs.
    pub hits: u64,
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { hits: 200_000, time: Duration::from_secs(10) }
    }
}

/// `si_code` of a SIGTRAP by a breakpoint of the CPU.
const TRAP_HWBKPT: i32 = 4;
/// The longest instruction.
const INSTRUCTION_BYTES: usize = 15;
const DIRECTION_FLAG: u64 = 0x400;
const SIGTRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

impl Ptrace {
    pub(super) fn run_to_point(&mut self, pid: Pid, point: &Point) -> Result<()> {
        let at = self.task(pid)?.at;
        if at != At::User {
            return Err(BackendError::Unexpected { pid, stop: format!("{at:?}"), doing: "go to a point in user code" });
        }
        if self.is_there(pid, point)? {
            return Ok(());
        }
        self.pass_exit(pid, "go to a point in user code")?;
        // A trap that is blocked would take its handler away.
        let mask = ptrace::sigmask(pid)?;
        if mask & SIGTRAP_BIT != 0 {
            ptrace::set_sigmask(pid, mask & !SIGTRAP_BIT)?;
        }
        let found = self.search(pid, point, Budget::default());
        if self.task(pid)?.at != At::Dead {
            ptrace::clear_breakpoint(pid)?;
            if mask & SIGTRAP_BIT != 0 {
                ptrace::set_sigmask(pid, mask)?;
            }
        }
        found
    }

    /// Registers and memory are those of the place.
    fn is_there(&self, pid: Pid, point: &Point) -> Result<bool> {
        Ok(point.differing(&self.task(pid)?.regs).is_none() && memory_equals(pid, point))
    }

    /// What tells a task at the place's instruction from one at the place.
    fn differing(&self, pid: Pid, point: &Point) -> Option<String> {
        let regs = self.task(pid).ok()?.regs;
        if regs.rip != point.regs.rip {
            return None;
        }
        if let Some((name, there, here)) = point.differing(&regs) {
            return Some(format!("{name} was {here:#x} and not {there:#x}"));
        }
        point.memory.iter().find_map(|(addr, bytes)| {
            let mut here = vec![0; bytes.len()];
            if ptrace::read_memory(pid, *addr, &mut here).is_err() {
                return Some(format!("there was no memory at {addr:#x}"));
            }
            let at = here.iter().zip(bytes).position(|(here, there)| here != there)? & !7;
            let word = |bytes: &[u8]| bytes[at..bytes.len().min(at + 8)].to_vec();
            Some(format!("memory at {:#x} was {:02x?} and not {:02x?}", addr + at as u64, word(&here), word(bytes)))
        })
    }

    fn search(&mut self, pid: Pid, point: &Point, budget: Budget) -> Result<()> {
        let begun = Instant::now();
        let alarm = Alarm::set(pid, budget.time);
        let rep = Rep::at(pid, point.regs.rip);
        ptrace::set_breakpoint(pid, point.regs.rip)?;
        let mut hits = 0;
        let mut differs = self.differing(pid, point);
        loop {
            if self.task(pid)?.regs.rip == point.regs.rip {
                let inside = match &rep {
                    Some(rep) => self.go_inside(pid, point, rep)?,
                    None => false,
                };
                if inside || self.is_there(pid, point)? {
                    let task = self.task_mut(pid)?;
                    task.regs.eflags = point.regs.eflags;
                    task.dirty = true;
                    return Ok(());
                }
                let task = self.task_mut(pid)?;
                if task.regs.eflags & RESUME_FLAG == 0 {
                    task.regs.eflags |= RESUME_FLAG;
                    task.dirty = true;
                }
            }
            self.resume(pid, Resume::Sysemu, 0)?;
            let came = self.wait_breakpoint(pid, point.regs.rip, &alarm)?;
            if came {
                hits += 1;
                differs = self.differing(pid, point);
            }
            if !came || hits >= budget.hits || begun.elapsed() > budget.time {
                let (ip, elapsed) = (point.regs.rip, begun.elapsed());
                let instead = if came { "it still runs".to_owned() } else { self.where_it_is(pid) };
                let instead = differs.map_or(instead.clone(), |differs| format!("{instead}; where it last was, {differs}"));
                return Err(BackendError::NoSuchPoint { pid, ip, hits, elapsed, instead });
            }
        }
    }

    /// Waits until the task stands at the breakpoint. False: it came to a call, a fault or its end before, or the time is over.
    fn wait_breakpoint(&mut self, pid: Pid, ip: u64, alarm: &Alarm) -> Result<bool> {
        loop {
            match self.wait(pid)? {
                Stop::Signal(signal) if is_synchronous(signal) => {
                    let info = ptrace::siginfo(pid)?;
                    if !raised_by_itself(signal, &info) {
                        ptrace::resume(pid, Resume::Sysemu, 0)?;
                        continue;
                    }
                    self.reload(pid, At::User)?;
                    if signal == libc::SIGTRAP && siginfo_code(&info) == TRAP_HWBKPT && self.task(pid)?.regs.rip == ip {
                        return Ok(true);
                    }
                    self.set_at(pid, At::Fault(signal))?;
                    return Ok(false);
                }
                Stop::Signal(_) | Stop::Group(_) | Stop::Event if alarm.is_over() => {
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

    fn where_it_is(&self, pid: Pid) -> String {
        match self.tasks.get(&pid) {
            Some(task) if task.at == At::User => format!("it runs at {:#x}", task.regs.rip),
            Some(task) => format!("it stands at {:x?}", task.at),
            None => "it is gone".to_owned(),
        }
    }

    /// Before an instruction that repeats: makes those turns that lie between here and the place. True: it stands there.
    fn go_inside(&mut self, pid: Pid, point: &Point, rep: &Rep) -> Result<bool> {
        let before = self.task(pid)?.regs;
        let Some(turns) = rep.turns(&before, &point.regs) else { return Ok(false) };
        let task = self.task_mut(pid)?;
        task.regs.rcx = turns;
        task.dirty = true;
        // Behind the last turn it stops, as before the next instruction.
        ptrace::set_breakpoint(pid, point.regs.rip + rep.len)?;
        self.resume(pid, Resume::Sysemu, 0)?;
        let came = self.wait_breakpoint(pid, point.regs.rip + rep.len, &Alarm::set(pid, Budget::default().time))?;
        ptrace::set_breakpoint(pid, point.regs.rip)?;
        if !came {
            let (ip, instead) = (point.regs.rip, self.where_it_is(pid));
            return Err(BackendError::NoSuchPoint { pid, ip, hits: 0, elapsed: Duration::ZERO, instead });
        }
        let task = self.task_mut(pid)?;
        // What is left of an early end has not been turned either.
        task.regs.rcx += before.rcx - turns;
        task.regs.rip = point.regs.rip;
        task.dirty = true;
        self.is_there(pid, point)
    }
}

fn memory_equals(pid: Pid, point: &Point) -> bool {
    point.memory.iter().all(|(addr, bytes)| {
        let mut here = vec![0; bytes.len()];
        ptrace::read_memory(pid, *addr, &mut here).is_ok() && here == *bytes
    })
}

/// An instruction that repeats rcx times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rep {
    /// Bytes of the instruction.
    len: u64,
    /// Bytes that rsi and rdi move by with each turn; 0 where the register is not used.
    source: u64,
    destination: u64,
}

impl Rep {
    fn at(pid: Pid, ip: u64) -> Option<Self> {
        let mut code = [0; INSTRUCTION_BYTES];
        // A mapping may end behind it.
        let len = (1..=INSTRUCTION_BYTES).rev().find(|len| ptrace::read_memory(pid, ip, &mut code[..*len]).is_ok())?;
        Self::decode(&code[..len])
    }

    /// String instructions: see "Instruction Prefixes" and REP in the architecture's manual. One that counts in ecx (prefix 67)
    /// is not recognised.
    fn decode(code: &[u8]) -> Option<Self> {
        let (mut repeats, mut narrow) = (false, false);
        let mut rest = code.iter();
        let mut next = rest.next()?;
        loop {
            match next {
                0xf2 | 0xf3 => repeats = true,
                0x66 => narrow = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
                _ => break,
            }
            next = rest.next()?;
        }
        let wide = (0x40..=0x4f).contains(next) && next & 8 != 0;
        if (0x40..=0x4f).contains(next) {
            next = rest.next()?;
        }
        let size = match (next & 1, wide, narrow) {
            (0, ..) => 1,
            (_, true, _) => 8,
            (_, _, true) => 2,
            _ => 4,
        };
        let (source, destination) = match next & !1 {
            0xa4 | 0xa6 => (size, size),
            0xaa | 0xae => (0, size),
            0xac => (size, 0),
            _ => return None,
        };
        let len = (code.len() - rest.len()) as u64;
        repeats.then_some(Self { len, source, destination })
    }

    /// How many turns take `from` to `to`. `None`: no number does.
    fn turns(&self, from: &Regs, to: &Regs) -> Option<u64> {
        let turns = from.rcx.checked_sub(to.rcx).filter(|turns| *turns > 0)?;
        let moved = |register: u64, size: u64| {
            let by = turns.wrapping_mul(size);
            if from.eflags & DIRECTION_FLAG == 0 { register.wrapping_add(by) } else { register.wrapping_sub(by) }
        };
        let fits = moved(from.rsi, self.source) == to.rsi && moved(from.rdi, self.destination) == to.rdi && from.rsp == to.rsp;
        fits.then_some(turns)
    }
}

/// Stops a task that has not come anywhere when its time is over, for a wait has no timeout.
#[derive(Debug)]
struct Alarm {
    until: Instant,
    cancel: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Alarm {
    fn set(pid: Pid, bound: Duration) -> Self {
        let (cancel, cancelled) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            if cancelled.recv_timeout(bound) == Err(mpsc::RecvTimeoutError::Timeout) {
                // The one signal that no task blocks; its tracer swallows it. If the task is gone there is nobody to stop.
                drop(ptrace::tkill(pid, libc::SIGSTOP));
            }
        });
        Self { until: Instant::now() + bound, cancel: Some(cancel), thread: Some(thread) }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        drop(self.cancel.take());
        if let Some(thread) = self.thread.take() {
            // It cannot panic.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
#[path = "point_tests.rs"]
mod tests;
