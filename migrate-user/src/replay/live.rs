//! The last steps of a replica: what the kernel holds for its tasks besides memory and descriptors, and their release.
//!
//! ```text
//!  settle  ->  (descriptors' contents: golive::restore)  ->  arm  ->  Go  ->  unleash  ->  release
//! ```
//! Up to `unleash` nothing has left the replica, and it can still be thrown away.

use super::backend::{At, Backend, BackendError};
use super::calls::timer::{ArmedTimer, Now, TimerId};
use super::engine::Engine;
use super::error::Result;
use super::wait::Wait;
use crate::clocks;
use crate::golive::processes;
use crate::inodes::Seen;
use crate::sys::ptrace::{Pid, SIGINFO_BYTES};

const NANOS: u64 = 1_000_000_000;

/// A signal that waited in the source when it was frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingSignal {
    /// Task in the container's pid namespace.
    pub tid: u32,
    /// For the whole process, or for this task alone.
    pub shared: bool,
    pub info: [u8; SIGINFO_BYTES],
}

impl<B: Backend> Engine<B> {
    /// The files whose numbers the container has looked at.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Ends the replay: nothing waits any more, the helper is gone from the pid namespace, and signals that the replica's own
    /// kernel queued (a child's end, say) are dropped: those that the source had pending take their place.
    pub fn settle(&mut self) -> Result<()> {
        self.check_settled()?;
        self.check_none_stopped()?;
        self.last_pid.finish();
        for pid in self.standing() {
            let mask = self.backend.signal_mask(pid)?;
            self.backend.set_signal_mask(pid, 0)?;
            // On the way to any call the queue is emptied.
            self.backend.execute(pid, libc::SYS_getppid as i32, [0; 6])?;
            self.backend.set_signal_mask(pid, mask)?;
        }
        Ok(())
    }

    /// Gives waits and timers the time that they have left, and queues signals. `now`: when the source was frozen. What comes from here
    /// on waits for [`Engine::unleash`]: tasks are still made to execute calls, and a signal would be lost on the way.
    pub fn arm(&mut self, now: &Now, signals: &[PendingSignal], waits: &[Wait]) -> Result<()> {
        for pid in self.standing() {
            self.masks.push((pid, self.backend.signal_mask(pid)?));
            self.backend.set_signal_mask(pid, u64::MAX)?;
        }
        for task in processes::lowest(self.live_processes()).into_values() {
            let pid = task.host_pid;
            let fail = |source| BackendError::Io { what: "letting it read its own kernel's clocks", pid, source };
            clocks::go_live(pid).map_err(fail)?;
        }
        for wait in waits {
            self.shorten(wait, now.host_ns)?;
        }
        let timers: Vec<ArmedTimer> = self.timers.iter().copied().collect();
        for timer in &timers {
            let is_its = |signal: &PendingSignal| self.process_of(signal.tid) == timer.tgid && timer.has_sent(&signal.info);
            self.arm_timer(timer, now, signals.iter().any(is_its))?;
        }
        for signal in signals {
            let Some(pid) = self.host_pid(signal.tid) else { continue };
            let number = u64::from(signal.info[0]);
            let tid = u64::from(signal.tid);
            let tgid = u64::from(self.process_of(signal.tid));
            let info = self.scratch(pid)?;
            if signal.shared {
                self.execute_with(pid, libc::SYS_rt_sigqueueinfo, [tgid, number, info, 0, 0, 0], &signal.info)?;
            } else {
                self.execute_with(pid, libc::SYS_rt_tgsigqueueinfo, [tgid, tid, number, info, 0, 0], &signal.info)?;
            }
        }
        Ok(())
    }

    /// Makes the replica independent of this program: if it dies, the tasks run on. They do not move yet, and cannot be made to.
    pub fn unleash(&mut self) -> Result<()> {
        for (pid, mask) in std::mem::take(&mut self.masks) {
            self.backend.set_signal_mask(pid, mask)?;
        }
        for pid in self.live_tasks().map(|(_, pid)| pid).collect::<Vec<_>>() {
            self.backend.unleash(pid)?;
        }
        Ok(())
    }

    /// Lets every task go: from here on the replica is the container.
    pub fn release(&mut self) -> Result<()> {
        let (waiting, others): (Vec<_>, Vec<_>) =
            self.live_tasks().map(|(_, pid)| pid).partition(|pid| self.backend.at(*pid) == At::Vfork);
        // A parent in vfork waits for a child that must be let go first.
        for pid in others.into_iter().chain(waiting) {
            match self.backend.release(pid) {
                // One that went before has ended its process, or entered another image.
                Err(error) if error.is_gone() => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn arm_timer(&mut self, timer: &ArmedTimer, now: &Now, waits: bool) -> Result<()> {
        let (Some(pid), Some(left)) = (self.standing_of(timer.tgid), timer.left(now, waits)) else { return Ok(()) };
        let at = self.scratch(pid)?;
        match timer.id {
            TimerId::Interval(which) => {
                let value = times(timer.interval_ns, left.value_ns, 1000);
                self.execute_with(pid, libc::SYS_setitimer, [which, at, 0, 0, 0, 0], &value)?;
            }
            TimerId::Posix(id) => {
                let value = times(timer.interval_ns, left.value_ns, 1);
                let flags = u64::from(left.absolute);
                self.execute_with(pid, libc::SYS_timer_settime, [id, flags, at, 0, 0, 0], &value)?;
            }
        }
        Ok(())
    }

    fn process_of(&self, tid: u32) -> u32 {
        self.tasks.get(&tid).map_or(tid, |task| task.tgid)
    }

    fn host_pid(&self, tid: u32) -> Option<Pid> {
        let pid = self.tasks.get(&tid)?.pid;
        matches!(self.backend.at(pid), At::Call(_) | At::User).then_some(pid)
    }

    /// A task of a process that can be made to execute a call: its first, or else any.
    fn standing_of(&self, tgid: u32) -> Option<Pid> {
        let others = self.tasks.iter().filter(|(_, task)| task.tgid == tgid);
        self.host_pid(tgid).or_else(|| others.filter_map(|(tid, _)| self.host_pid(*tid)).next())
    }

    /// Tasks that can be made to execute a call.
    fn standing(&self) -> Vec<Pid> {
        self.live_tasks().map(|(_, pid)| pid).filter(|pid| matches!(self.backend.at(*pid), At::Call(_) | At::User)).collect()
    }
}

/// struct timespec.
pub(super) fn timespec(ns: u64) -> Vec<u8> {
    [ns / NANOS, ns % NANOS].into_iter().flat_map(u64::to_le_bytes).collect()
}

/// An interval and a value in seconds and fractions of `fraction_ns`.
fn times(interval_ns: u64, value_ns: u64, fraction_ns: u64) -> Vec<u8> {
    [interval_ns, value_ns].iter().flat_map(|ns| [ns / NANOS, (ns % NANOS) / fraction_ns]).flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golive::Clocks;
    use crate::replay::backend::Expect;
    use crate::replay::last_pid::LastPid;
    use crate::replay::ptrace::twins::Twins;
    use crate::sys::ptrace::is_zombie;
    use crate::sys::signals::SignalSets;
    use std::time::Duration;

    fn pause() {
        // SAFETY: a call, at which its tracer stops it.
        unsafe { libc::syscall(libc::SYS_pause) };
    }

    #[test]
    fn a_timer_that_expires_before_the_release_ends_in_its_signal_after_it() {
        let mut twins = Twins::before(pause);
        let pid = twins.replica;
        assert!(matches!(twins.backend.run(pid, Expect::Executed).unwrap(), At::Call(_)));
        let mut engine = Engine::new(std::mem::take(&mut twins.backend), pid, LastPid::new(pid));
        let id = TimerId::Interval(libc::ITIMER_REAL as u64);
        engine.timers.set(ArmedTimer {
            tgid: 1,
            id,
            clock: libc::CLOCK_MONOTONIC,
            armed_ns: 0,
            value_ns: 1,
            interval_ns: 0,
            absolute: false,
            fired: false,
        });
        let mask = engine.backend.signal_mask(pid).unwrap();
        engine.arm(&Now { host_ns: 1, container: Clocks::default() }, &[], &[]).unwrap();
        let waits = || SignalSets::of(pid).unwrap().process & 1 << (libc::SIGALRM - 1) != 0;
        while !waits() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // As it is made to for the inode numbers.
        engine.backend.execute(pid, libc::SYS_getppid as i32, [0; 6]).unwrap();
        assert!(waits());
        engine.unleash().unwrap();
        assert_eq!(engine.backend.signal_mask(pid).unwrap(), mask);
        assert!(waits());
        engine.release().unwrap();
        while !is_zombie(pid).unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        twins.backend = std::mem::take(&mut engine.backend);
    }
}
