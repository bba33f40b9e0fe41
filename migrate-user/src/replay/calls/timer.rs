//! Timers that end in a signal. They are not armed in the replica, whose signals come from the log; what the source had armed is
//! kept in mind for the moment when the replica goes live.

use super::Site;
use crate::golive::Clocks;
use crate::record::Record;
use crate::replay::backend::Backend;
use crate::replay::engine::{Engine, Step};
use crate::replay::error::Result;
use crate::sys::ptrace::SIGINFO_BYTES;
use migrate_common::record::Class;
use std::collections::HashMap;

const NANOS: u64 = 1_000_000_000;
const TIMER_ABSTIME: u64 = 1;
/// A timer that was to expire during the move does so soon after it.
pub(in crate::replay) const SOON_NS: u64 = 1000;
/// How late a timer's signal can be: the kernel's interrupt comes late, a virtual machine's CPU later. After that a signal that left no
/// trace was ignored, or found another of its number waiting.
const LATE_NS: u64 = NANOS;
/// How much earlier than it was a record can say it was: a tick, at the lowest HZ.
const TICK_NS: u64 = 10_000_000;
/// `si_code` of timer_create's, sigaction(2).
const SI_TIMER: i32 = -2;
const SIGNALFD_INFO_BYTES: usize = 128;

/// Which timer of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerId {
    /// setitimer and alarm: ITIMER_REAL 0, ITIMER_VIRTUAL 1, ITIMER_PROF 2.
    Interval(u64),
    /// timer_create's id.
    Posix(u64),
}

impl TimerId {
    /// The timer that has sent a signal. `None`: it is no timer's.
    fn of_siginfo(info: &[u8; SIGINFO_BYTES]) -> Option<Self> {
        Self::of_signal(word(info, 0)?, word(info, 8)?, word(info, 16)?)
    }

    /// The same as a signalfd tells it, signalfd(2).
    fn of_signalfd(info: &[u8]) -> Option<Self> {
        Self::of_signal(word(info, 0)?, word(info, 8)?, word(info, 24)?)
    }

    fn of_signal(signal: i32, code: i32, timer: i32) -> Option<Self> {
        let which = match (code, signal) {
            (SI_TIMER, _) => return Some(Self::Posix(u64::from(timer.unsigned_abs()))),
            (libc::SI_KERNEL, libc::SIGALRM) => libc::ITIMER_REAL,
            (libc::SI_KERNEL, libc::SIGVTALRM) => libc::ITIMER_VIRTUAL,
            (libc::SI_KERNEL, libc::SIGPROF) => libc::ITIMER_PROF,
            _ => return None,
        };
        Some(Self::Interval(which as u64))
    }

    /// The clock of an interval timer, as timer_create names clocks.
    fn interval_clock(which: u64) -> i32 {
        if which == libc::ITIMER_REAL as u64 { libc::CLOCK_MONOTONIC } else { libc::CLOCK_PROCESS_CPUTIME_ID }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The source's clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// CLOCK_MONOTONIC of its host, as records have it.
    pub host_ns: u64,
    pub container: Clocks,
}

/// A timer that runs in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmedTimer {
    /// The process that it belongs to, by its number in the container's pid namespace: any of its threads can set it.
    pub tgid: u32,
    pub id: TimerId,
    /// What it counts.
    pub clock: i32,
    /// When it was armed: CLOCK_MONOTONIC of the source's host.
    pub armed_ns: u64,
    /// Time to the first expiry as it was armed.
    pub value_ns: u64,
    /// 0: once.
    pub interval_ns: u64,
    /// The value is a point on the clock instead.
    pub absolute: bool,
    /// Its signal has come since.
    pub fired: bool,
}

/// What a timer is to be armed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// Never 0, which would disarm it.
    pub value_ns: u64,
    /// A point on the timer's clock, not a time from now on.
    pub absolute: bool,
}

impl ArmedTimer {
    /// What to arm it with `now`. `None`: it has expired for good. `waits`: its signal has been sent and not delivered.
    ///
    /// That the time is over is not enough for that: the timer may be about to expire, or its interrupt on its way.
    ///
    /// # Examples
    /// A timer of 10 with an interval of 4 expires at 10, 14, 18: at 15 it has 3 left.
    #[must_use]
    pub fn left(&self, now: &Now, waits: bool) -> Option<TimeLeft> {
        let as_it_was = TimeLeft { value_ns: self.value_ns, absolute: self.absolute };
        let (expires_ns, now_ns) = match (self.interval_ns, self.absolute, now.container.of_clock(self.clock)) {
            (0, ..) if self.fired || waits => return None,
            // How much of CPU time has passed is not known here: the period begins anew.
            (_, false, None) if self.fired => return Some(TimeLeft { value_ns: self.interval_ns, ..as_it_was }),
            (_, _, None) => return Some(as_it_was),
            (_, false, _) => (self.armed_ns.saturating_add(self.value_ns), now.host_ns),
            (_, true, Some(container_ns)) => (self.value_ns, u64::try_from(container_ns).unwrap_or(0)),
        };
        let next_ns = match now_ns.checked_sub(expires_ns) {
            None => expires_ns,
            Some(late) => match late.checked_rem(self.interval_ns) {
                Some(into) => now_ns + self.interval_ns - into,
                None if late < LATE_NS => now_ns,
                None => return None,
            },
        };
        // A deadline on the wall clock stays one, for whoever sets that; others are free of the offsets of time namespaces.
        let absolute = self.absolute && matches!(self.clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM);
        let value_ns = if absolute { next_ns } else { (next_ns - now_ns).max(SOON_NS) };
        Some(TimeLeft { value_ns, absolute })
    }

    /// Whether a signal to its process is its own.
    #[must_use]
    pub fn has_sent(&self, info: &[u8; SIGINFO_BYTES]) -> bool {
        TimerId::of_siginfo(info) == Some(self.id)
    }

    /// Whether it may have expired at `now_ns`, as a record tells that. A signal that comes before then is of the time before it was
    /// armed.
    fn may_have_expired(&self, now_ns: u64) -> bool {
        self.absolute || now_ns.saturating_add(TICK_NS) >= self.armed_ns.saturating_add(self.value_ns)
    }
}

/// What is armed.
#[derive(Debug, Default)]
pub struct Timers {
    armed: HashMap<(u32, TimerId), ArmedTimer>,
    /// Of those that timer_create made, by process and id.
    clocks: HashMap<(u32, u64), i32>,
}

impl Timers {
    /// A process's timers end with it. `tid`: a task that has ended, or the process; a thread that is not the first takes none along.
    pub(in crate::replay) fn forget(&mut self, tid: u32) {
        self.armed.retain(|(of, _), _| *of != tid);
        self.clocks.retain(|(of, _), _| *of != tid);
    }

    /// An exec keeps interval timers and deletes POSIX ones.
    pub(in crate::replay) fn forget_posix(&mut self, tid: u32) {
        self.armed.retain(|(of, id), _| *of != tid || matches!(id, TimerId::Interval(_)));
        self.clocks.retain(|(of, _), _| *of != tid);
    }

    fn delete(&mut self, tgid: u32, id: u64) {
        self.armed.remove(&(tgid, TimerId::Posix(id)));
        self.clocks.remove(&(tgid, id));
    }

    pub(in crate::replay) fn set(&mut self, timer: ArmedTimer) {
        let key = (timer.tgid, timer.id);
        if timer.value_ns == 0 {
            self.armed.remove(&key)
        } else {
            self.armed.insert(key, timer)
        };
    }

    /// A process has got a timer's signal.
    fn note(&mut self, tgid: u32, id: TimerId, time_ns: u64) {
        if let Some(timer) = self.armed.get_mut(&(tgid, id)) {
            timer.fired |= timer.may_have_expired(time_ns);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ArmedTimer> {
        self.armed.values()
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
        let timer = |id, clock, [interval_ns, value_ns]: [u64; 2], absolute| ArmedTimer {
            tgid,
            id,
            clock,
            armed_ns,
            value_ns,
            interval_ns,
            absolute,
            fired: false,
        };
        match i64::from(site.call.nr) {
            libc::SYS_timer_create => {
                let step = self.reissue(site)?;
                let mut id = [0; 4];
                self.backend.read(site.pid, args[2], &mut id)?;
                #[expect(clippy::cast_possible_truncation, reason = "the kernel takes the clock from 32 bits")]
                self.timers.clocks.insert((tgid, u64::from(u32::from_ne_bytes(id))), args[0] as i32);
                return Ok(step);
            }
            libc::SYS_timer_delete => {
                self.timers.delete(tgid, args[0]);
                return self.reissue(site);
            }
            libc::SYS_alarm => {
                let times = [0, (args[0] & 0xffff_ffff) * NANOS];
                self.timers.set(timer(TimerId::Interval(libc::ITIMER_REAL as u64), libc::CLOCK_MONOTONIC, times, false));
            }
            libc::SYS_setitimer => {
                let times = self.read_times(site, args[1], 1000)?;
                self.timers.set(timer(TimerId::Interval(args[0]), TimerId::interval_clock(args[0]), times, false));
            }
            _ => {
                let times = self.read_times(site, args[2], 1)?;
                let clock = self.timers.clocks.get(&(tgid, args[0])).copied().unwrap_or(libc::CLOCK_MONOTONIC);
                self.timers.set(timer(TimerId::Posix(args[0]), clock, times, args[1] & TIMER_ABSTIME != 0));
            }
        }
        self.inject(site)
    }

    /// A signal was delivered, `info` being its siginfo.
    pub(super) fn note_timer(&mut self, record: &Record, info: &[u8; SIGINFO_BYTES]) -> Result<()> {
        if let Some(id) = TimerId::of_siginfo(info) {
            let tgid = self.task(record)?.tgid;
            self.timers.note(tgid, id, record.head.time_ns);
        }
        Ok(())
    }

    /// A call took signals that were not delivered: rt_sigtimedwait, or a read of a signalfd.
    pub(super) fn note_taken_timers(&mut self, record: &Record) -> Result<()> {
        if self.timers.armed.is_empty() {
            return Ok(());
        }
        for id in taken(record) {
            let tgid = self.task(record)?.tgid;
            self.timers.note(tgid, id, record.head.time_ns);
        }
        Ok(())
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

/// The timers whose signals a call took that were not delivered.
fn taken(record: &Record) -> impl Iterator<Item = TimerId> {
    type Tell = fn(&[u8]) -> Option<TimerId>;
    let (size, id): (usize, Tell) = match (i64::from(record.head.nr), record.class()) {
        (libc::SYS_read, Class::Anon) => (SIGNALFD_INFO_BYTES, TimerId::of_signalfd),
        (libc::SYS_rt_sigtimedwait, _) => (SIGINFO_BYTES, |info| TimerId::of_siginfo(info.first_chunk()?)),
        _ => (usize::MAX, |_| None),
    };
    record.segments().flat_map(move |segment| segment.bytes.chunks_exact(size).filter_map(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_common::record::Kind;

    /// On the container's clock everything is a second less.
    fn at(host_ns: u64) -> Now {
        let monotonic_ns = host_ns.cast_signed() - NANOS.cast_signed();
        Now { host_ns, container: Clocks { realtime_ns: 7, monotonic_ns, boottime_ns: 0 } }
    }

    fn timer(value_ns: u64, interval_ns: u64) -> ArmedTimer {
        ArmedTimer {
            tgid: 1,
            id: TimerId::Interval(0),
            clock: libc::CLOCK_MONOTONIC,
            armed_ns: 3 * NANOS,
            value_ns,
            interval_ns,
            absolute: false,
            fired: false,
        }
    }

    fn left(timer: &ArmedTimer, after_ns: u64) -> Option<u64> {
        let left = timer.left(&at(timer.armed_ns + after_ns), false)?;
        assert!(!left.absolute);
        Some(left.value_ns)
    }

    #[test]
    fn a_timer_has_left_what_has_not_passed() {
        assert_eq!(left(&timer(10_000, 0), 3000), Some(7000));
        assert_eq!(left(&timer(10_000, 4000), 8000), Some(2000));
        assert_eq!(left(&timer(10_000, 4000), 10_000), Some(4000));
        assert_eq!(left(&timer(10_000, 4000), 15_000), Some(3000));
        assert_eq!(left(&timer(10_000, 4000), 13_999), Some(SOON_NS));
    }

    #[test]
    fn one_that_was_to_expire_does_if_its_signal_left_no_trace() {
        assert_eq!(left(&timer(10_000, 0), 10_000), Some(SOON_NS));
        assert_eq!(left(&timer(10_000, 0), 10_000 + LATE_NS), None);
        let (fired, now) = (ArmedTimer { fired: true, ..timer(10_000, 0) }, at(3 * NANOS + 10_000));
        assert_eq!(fired.left(&now, false), None);
        assert_eq!(timer(10_000, 0).left(&now, true), None);
        // As long as its clock says that it is armed: the signal tells more than the clock.
        assert_eq!(timer(10_000, 0).left(&at(3 * NANOS + 9000), true), None);
        assert!(ArmedTimer { fired: true, ..timer(10_000, 4000) }.left(&now, true).is_some());
    }

    #[test]
    fn a_point_on_a_clock_is_the_container_s() {
        let until = |ns| ArmedTimer { absolute: true, ..timer(ns, 0) };
        assert_eq!(left(&until(2 * NANOS + 8000), 3000), Some(5000));
        assert_eq!(left(&until(2 * NANOS), 3000), Some(SOON_NS));
        assert_eq!(left(&until(NANOS / 2), 3000), None);
        let every = ArmedTimer { interval_ns: 4000, ..until(2 * NANOS) };
        assert_eq!(left(&every, 5000), Some(3000));
        let wall = ArmedTimer { clock: libc::CLOCK_REALTIME, ..until(NANOS) };
        assert_eq!(wall.left(&at(0), false), Some(TimeLeft { value_ns: NANOS, absolute: true }));
    }

    #[test]
    fn one_of_cpu_time_begins_anew() {
        let timer = ArmedTimer { clock: TimerId::interval_clock(libc::ITIMER_PROF as u64), ..timer(10_000, 4000) };
        assert_eq!(left(&timer, 9 * NANOS), Some(10_000));
        assert_eq!(left(&ArmedTimer { fired: true, ..timer }, 9 * NANOS), Some(4000));
    }

    #[test]
    fn signals_are_told_by_their_senders() {
        let info = |signal: i32, code: i32, timer: i32| {
            let mut info = [0; SIGINFO_BYTES];
            for (at, value) in [(0, signal), (8, code), (16, timer)] {
                info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            info
        };
        let posix = ArmedTimer { id: TimerId::Posix(3), ..timer(10, 0) };
        assert!(posix.has_sent(&info(libc::SIGRTMIN(), SI_TIMER, 3)));
        assert!(!posix.has_sent(&info(libc::SIGRTMIN(), SI_TIMER, 4)));
        assert!(timer(10, 0).has_sent(&info(libc::SIGALRM, libc::SI_KERNEL, 0)));
        assert!(!timer(10, 0).has_sent(&info(libc::SIGALRM, libc::SI_USER, 0)));
        assert!(!timer(10, 0).has_sent(&info(libc::SIGPROF, libc::SI_KERNEL, 0)));
    }

    #[test]
    fn a_call_that_takes_signals_tells_whose_they_were() {
        let at = |bytes: usize, timer_at: usize, signal: i32, code: i32, timer: i32| {
            let mut info = vec![0; bytes];
            for (at, value) in [(0, signal), (8, code), (timer_at, timer)] {
                info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            info
        };
        let record = |nr: i64, class: Class, bytes: &[u8]| {
            let mut record = Record { head: Default::default(), payload: Vec::new() };
            (record.head.kind, record.head.nr, record.head.class) = (Kind::Syscall as u8, nr as i32, class as u8);
            record.push_segment(0x1000, bytes);
            record
        };
        let of = |record: &Record| taken(record).collect::<Vec<_>>();
        let waited = at(SIGINFO_BYTES, 16, libc::SIGRTMIN(), SI_TIMER, 3);
        assert_eq!(of(&record(libc::SYS_rt_sigtimedwait, Class::None, &waited)), [TimerId::Posix(3)]);
        let alarm = at(SIGNALFD_INFO_BYTES, 24, libc::SIGALRM, libc::SI_KERNEL, 0);
        let sent = at(SIGNALFD_INFO_BYTES, 24, libc::SIGALRM, libc::SI_USER, 0);
        let two = [alarm.as_slice(), &sent, &at(SIGNALFD_INFO_BYTES, 24, libc::SIGRTMIN(), SI_TIMER, 5)].concat();
        let both = [TimerId::Interval(libc::ITIMER_REAL as u64), TimerId::Posix(5)];
        assert_eq!(of(&record(libc::SYS_read, Class::Anon, &two)), both);
        assert_eq!(of(&record(libc::SYS_read, Class::Inet, &two)), [], "what a peer sent is no signal");
        assert_eq!(of(&record(libc::SYS_read, Class::Anon, &7_u64.to_ne_bytes())), [], "a timerfd's count");
    }

    #[test]
    fn a_signal_that_came_before_it_could_be_is_of_the_time_before() {
        let mut timers = Timers::default();
        timers.set(timer(NANOS, 0));
        let fired = |timers: &Timers| timers.iter().all(|timer| timer.fired);
        timers.note(1, TimerId::Interval(0), 3 * NANOS + 1000);
        timers.note(2, TimerId::Interval(0), 5 * NANOS);
        timers.note(1, TimerId::Interval(1), 5 * NANOS);
        assert!(!fired(&timers));
        timers.note(1, TimerId::Interval(0), 4 * NANOS - TICK_NS);
        assert!(fired(&timers));
        timers.set(timer(NANOS, 0));
        assert!(!fired(&timers));
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
