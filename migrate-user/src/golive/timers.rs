//! Timers that are no descriptors: alarm, ITIMER_REAL, POSIX timers. The replay engine knows them from the log; this says what is left.

use std::time::Duration;

use super::Clocks;
use super::clocks::at_least_a_nanosecond;

/// An armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmedTimer {
    /// When it fires next, on the container's CLOCK_MONOTONIC.
    pub deadline_ns: i64,
    /// Zero for a timer that fires once.
    pub interval: Duration,
}

/// What to arm it with, relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// Never zero, which would disarm: a deadline that passed fires at once.
    pub value: Duration,
    pub interval: Duration,
}

impl ArmedTimer {
    /// The time left at `now`. A periodic timer that missed whole periods fires once for them, as a blocked signal would.
    #[must_use]
    pub fn left(&self, now: &Clocks) -> TimeLeft {
        TimeLeft { value: at_least_a_nanosecond(self.deadline_ns - now.monotonic_ns), interval: self.interval }
    }

    /// A timer as a log tells it, armed at `armed_at_ns` with `value` and `interval`: when it fires next after `now`. `None` for
    /// a one-shot timer that has fired.
    #[must_use]
    pub fn armed(armed_at_ns: i64, value: Duration, interval: Duration, now: &Clocks) -> Option<Self> {
        let first = armed_at_ns.saturating_add(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX));
        let period = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
        if first > now.monotonic_ns {
            return Some(Self { deadline_ns: first, interval });
        }
        if period == 0 {
            return None;
        }
        let passed = (now.monotonic_ns - first) / period + 1;
        Some(Self { deadline_ns: first + passed * period, interval })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ns: i64) -> Clocks {
        Clocks { monotonic_ns, ..Clocks::default() }
    }

    #[test]
    fn a_deadline_that_passed_during_the_move_fires_at_once_and_is_not_disarmed() {
        let timer = ArmedTimer { deadline_ns: 100, interval: Duration::ZERO };
        assert_eq!(timer.left(&at(40)).value, Duration::from_nanos(60));
        assert_eq!(timer.left(&at(100)).value, Duration::from_nanos(1));
        assert_eq!(timer.left(&at(5000)).value, Duration::from_nanos(1));
    }

    #[test]
    fn a_periodic_timer_keeps_its_phase() {
        let every_ten =
            |now| ArmedTimer::armed(100, Duration::from_nanos(5), Duration::from_nanos(10), &at(now)).unwrap().deadline_ns;
        assert_eq!([every_ten(100), every_ten(104), every_ten(105), every_ten(131)], [105, 105, 115, 135]);
        assert_eq!(ArmedTimer::armed(100, Duration::from_nanos(5), Duration::ZERO, &at(105)), None);
    }
}
