//! Timers: a descriptor that paces the steps, and the process's alarm, by `alarm` and `setitimer` in turn.

use std::ptr::null_mut;

use super::await_event;
use crate::kit::clock::{MS_NS, SECOND_NS, monotonic, ns, timespec, timeval, us};
use crate::kit::{Chain, Result, fd, signal, zero};

/// Of the descriptor.
const PACE_NS: i64 = 40 * MS_NS;
/// Of ITIMER_REAL.
const INTERVAL_NS: i64 = 15 * MS_NS;
/// How often ITIMER_REAL fires before it is the turn of `alarm`.
const SIGNALS: usize = 20;
/// A timer that has not fired for so long is lost. Longer than any pause that is not a failure.
const PATIENCE_NS: i64 = 60 * SECOND_NS;

/// The timer that SIGALRM comes from.
#[derive(Debug)]
enum Source {
    /// Once, a second after this time.
    Alarm(i64),
    /// Every interval since this time.
    Interval(i64),
}

/// What stays armed from step to step.
#[derive(Debug)]
pub struct Timers {
    pace: i32,
    since: i64,
    ticks: u64,
    source: Source,
    alarms: u64,
    intervals: u64,
}

impl Timers {
    /// Arms both.
    pub fn new() -> Result<Self> {
        signal::watch(libc::SIGALRM, libc::SA_RESTART)?;
        let pace = sys!(timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC))?;
        let since = monotonic()?;
        let times = libc::itimerspec { it_interval: timespec(PACE_NS), it_value: timespec(PACE_NS) };
        sys!(timerfd_settime(pace, 0, &raw const times, null_mut()))?;
        let source = Source::alarm()?;
        Ok(Self { pace, since, ticks: 0, source, alarms: 0, intervals: 0 })
    }

    /// Waits for the next tick, and looks at what SIGALRM did.
    pub fn step(&mut self, chain: &mut Chain) -> Result {
        let mut rest: libc::itimerspec = zero();
        sys!(timerfd_gettime(self.pace, &raw mut rest))?;
        check!((1..=PACE_NS).contains(&ns(&rest.it_value)) && ns(&rest.it_interval) == PACE_NS, "the timer is not armed");
        chain.num(ns(&rest.it_value));
        await_event(self.pace, libc::POLLIN)?;
        let count = fd::read_u64(self.pace)?;
        self.ticks += count;
        chain.num(count);
        let now = monotonic()?;
        // One interval of tolerance: a move rounds what is left of the time.
        let least = (self.ticks as i64 - 1) * PACE_NS;
        check!(now - self.since >= least, "{} ticks in {} ns", self.ticks, now - self.since);
        chain.num(now);
        self.alarm(chain)
    }

    fn alarm(&mut self, chain: &mut Chain) -> Result {
        let fired = signal::count();
        chain.num(fired);
        // After the count: a signal between the two would else have come too early.
        let now = monotonic()?;
        chain.num(now);
        match self.source {
            Source::Alarm(armed) if fired == 0 => {
                let mut left: libc::itimerval = zero();
                sys!(getitimer(libc::ITIMER_REAL, &raw mut left))?;
                check!(us(&left.it_value) > 0 || signal::count() > 0, "the alarm is neither armed nor did it come");
                check!(us(&left.it_value) <= 1_000_000, "{} us left of a second", us(&left.it_value));
                check!(now - armed < PATIENCE_NS, "no alarm in {} ns", now - armed);
                chain.num(us(&left.it_value));
                Ok(())
            }
            Source::Alarm(armed) => {
                check_eq!(fired, 1, "alarms");
                check!(now - armed >= SECOND_NS, "the alarm came after {} ns", now - armed);
                self.alarms += 1;
                self.drain(chain)?;
                self.source = Source::interval()?;
                Ok(())
            }
            Source::Interval(armed) => {
                let passed = now - armed;
                check!((fired as i64 - 1) * INTERVAL_NS <= passed, "{fired} signals in {passed} ns");
                check!(fired > 0 || passed < PATIENCE_NS, "no signal in {passed} ns");
                if fired >= SIGNALS {
                    set_interval(0)?;
                    self.intervals += self.drain(chain)?;
                    self.source = Source::alarm()?;
                }
                Ok(())
            }
        }
    }

    /// Takes the signals into the chain.
    fn drain(&mut self, chain: &mut Chain) -> Result<u64> {
        let seen = signal::take(chain);
        check!(seen.iter().all(|one| one.signal == libc::SIGALRM && one.code == libc::SI_KERNEL), "signals {seen:?}");
        Ok(seen.len() as u64)
    }

    /// How often each fired.
    pub fn summary(&self) -> String {
        format!("ticks {} alarms {} intervals {}", self.ticks, self.alarms, self.intervals)
    }
}

impl Source {
    fn alarm() -> Result<Self> {
        let armed = monotonic()?;
        check_eq!(plain!(alarm(1)), 0, "seconds left of no alarm");
        Ok(Self::Alarm(armed))
    }

    fn interval() -> Result<Self> {
        let armed = monotonic()?;
        set_interval(INTERVAL_NS)?;
        Ok(Self::Interval(armed))
    }
}

fn set_interval(ns: i64) -> Result {
    let times = libc::itimerval { it_interval: timeval(ns / 1000), it_value: timeval(ns / 1000) };
    sys!(setitimer(libc::ITIMER_REAL, &raw const times, null_mut())).map(drop)
}
