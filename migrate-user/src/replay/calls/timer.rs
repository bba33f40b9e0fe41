//! Timers that end in a signal. They are not armed in the replica, whose signals come from the log; what the source had armed is
//! kept in mind for the moment when the replica goes live.

use super::Site;
use crate::replay::backend::Backend;
use crate::replay::engine::{Engine, Step};
use crate::replay::error::Result;
use std::collections::HashMap;

const NANOS: u64 = 1_000_000_000;
const TIMER_ABSTIME: u64 = 1;

/// Which timer of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerId {
    /// setitimer and alarm: ITIMER_REAL 0, ITIMER_VIRTUAL 1, ITIMER_PROF 2.
    Interval(u64),
    /// timer_create's id.
    Posix(u64),
}

/// A timer that runs in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmedTimer {
    /// The process that it belongs to, by its number in the container's pid namespace: any of its threads can set it.
    pub tgid: u32,
    pub id: TimerId,
    /// When it was armed: CLOCK_MONOTONIC of the source's host.
    pub armed_ns: u64,
    /// Time to the first expiry as it was armed.
    pub value_ns: u64,
    /// 0: once.
    pub interval_ns: u64,
    /// The value is a point on the timer's clock instead.
    pub absolute: bool,
}

impl ArmedTimer {
    /// Time left at `now_ns` on the source's clock: at least 1 while the timer runs. `None`: it has expired for good.
    ///
    /// # Examples
    /// A timer of 10 with an interval of 4 expires at 10, 14, 18: at 15 it has 3 left.
    #[must_use]
    pub fn left_ns(&self, now_ns: u64) -> Option<u64> {
        if self.absolute {
            return Some(self.value_ns);
        }
        let passed = now_ns.saturating_sub(self.armed_ns);
        if passed < self.value_ns {
            return Some(self.value_ns - passed);
        }
        let over = passed - self.value_ns;
        Some(self.interval_ns - over.checked_rem(self.interval_ns)?)
    }
}

/// What is armed.
#[derive(Debug, Default)]
pub struct Timers(HashMap<(u32, TimerId), ArmedTimer>);

impl Timers {
    /// A process's timers end with it. `tid`: a task that has ended, or the process; a thread that is not the first takes none along.
    pub(in crate::replay) fn forget(&mut self, tid: u32) {
        self.0.retain(|(of, _), _| *of != tid);
    }

    /// An exec keeps interval timers and deletes POSIX ones.
    pub(in crate::replay) fn forget_posix(&mut self, tid: u32) {
        self.0.retain(|(of, id), _| *of != tid || matches!(id, TimerId::Interval(_)));
    }

    fn set(&mut self, timer: ArmedTimer) {
        let key = (timer.tgid, timer.id);
        if timer.value_ns == 0 {
            self.0.remove(&key)
        } else {
            self.0.insert(key, timer)
        };
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ArmedTimer> {
        self.0.values()
    }
}

impl<B: Backend> Engine<B> {
    /// The timers that run in the source.
    pub fn armed_timers(&self) -> impl Iterator<Item = &ArmedTimer> {
        self.timers.iter()
    }

    pub(super) fn timer(&mut self, site: &Site<'_>) -> Result<Step> {
        let args = site.call.args;
        let tgid = self.task(site.record)?.tgid;
        let armed_ns = site.record.head.time_ns;
        match i64::from(site.call.nr) {
            libc::SYS_timer_create => return self.reissue(site),
            libc::SYS_timer_delete => {
                self.timers.0.remove(&(tgid, TimerId::Posix(args[0])));
                return self.reissue(site);
            }
            libc::SYS_alarm => {
                let value_ns = (args[0] & 0xffff_ffff) * NANOS;
                let id = TimerId::Interval(libc::ITIMER_REAL as u64);
                self.timers.set(ArmedTimer { tgid, id, armed_ns, value_ns, interval_ns: 0, absolute: false });
            }
            libc::SYS_setitimer => {
                let [interval_ns, value_ns] = self.read_times(site, args[1], 1000)?;
                let id = TimerId::Interval(args[0]);
                self.timers.set(ArmedTimer { tgid, id, armed_ns, value_ns, interval_ns, absolute: false });
            }
            _ => {
                let [interval_ns, value_ns] = self.read_times(site, args[2], 1)?;
                let absolute = args[1] & TIMER_ABSTIME != 0;
                let id = TimerId::Posix(args[0]);
                self.timers.set(ArmedTimer { tgid, id, armed_ns, value_ns, interval_ns, absolute });
            }
        }
        self.inject(site)
    }

    /// An interval and a value, each in seconds and a fraction of `fraction_ns`, in nanoseconds.
    fn read_times(&self, site: &Site<'_>, addr: u64, fraction_ns: u64) -> Result<[u64; 2]> {
        let mut words = [0_u64; 4];
        if addr != 0 {
            self.backend.read(site.pid, addr, bytemuck::cast_slice_mut(&mut words))?;
        }
        let ns = |seconds: u64, fraction: u64| seconds.saturating_mul(NANOS).saturating_add(fraction.saturating_mul(fraction_ns));
        Ok([ns(words[0], words[1]), ns(words[2], words[3])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(value_ns: u64, interval_ns: u64) -> ArmedTimer {
        ArmedTimer { tgid: 1, id: TimerId::Interval(0), armed_ns: 100, value_ns, interval_ns, absolute: false }
    }

    #[test]
    fn a_timer_has_left_what_has_not_passed() {
        assert_eq!(timer(10, 0).left_ns(103), Some(7));
        assert_eq!(timer(10, 0).left_ns(110), None);
        assert_eq!(timer(10, 4).left_ns(109), Some(1));
        assert_eq!(timer(10, 4).left_ns(110), Some(4));
        assert_eq!(timer(10, 4).left_ns(115), Some(3));
    }

    #[test]
    fn an_exec_keeps_interval_timers_alone() {
        let mut timers = Timers::default();
        timers.set(timer(5, 0));
        timers.set(ArmedTimer { id: TimerId::Posix(0), ..timer(5, 0) });
        timers.forget_posix(1);
        assert_eq!(timers.iter().count(), 1);
        timers.forget(1);
        assert_eq!(timers.iter().count(), 0);
    }
}
