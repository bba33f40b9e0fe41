//! Sleeping, and timers: as descriptors, as signals.

mod computing;
mod interval;
mod posix;
mod sleep;
mod timerfd;

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Timer, run }
}

pub const GUESTS: &[Guest] = &[
    guest("nanosleep", sleep::nanosleep),
    guest("clock_nanosleep", sleep::clock_nanosleep),
    guest("nanosleep_eintr", sleep::nanosleep_eintr),
    guest("timerfd_relative", timerfd::relative),
    guest("timerfd_absolute", timerfd::absolute),
    guest("timerfd_interval", timerfd::interval),
    guest("alarm", interval::alarm),
    guest("itimer_real", interval::itimer_real),
    guest("itimer_calls", interval::itimer_calls),
    guest("itimer_cpu", interval::itimer_cpu),
    guest("posix_timer", posix::signal),
    guest("posix_timer_overrun", posix::overrun),
    guest("computing_posix_timer", computing::posix),
    guest("computing_thread_id", computing::thread_id),
    guest("computing_itimer_virtual", computing::cpu_time),
    guest("computing_timerfd", computing::descriptor),
];
