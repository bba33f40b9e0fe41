//! Programs that run until they are told to stop (SIGTERM, SIGINT) or for a number of steps, to be moved while they run. What they
//! print can be checked from outside: numbers without a gap or a repeat, and a last line that begins with `end`.

mod handover;
mod inputs;
mod locks;
mod prefork;
mod signals;
mod table;
mod until;

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Workload, run }
}

pub const GUESTS: &[Guest] = &[
    guest("prefork", prefork::prefork),
    guest("inputs", inputs::inputs),
    guest("handover", handover::handover),
    guest("threads", locks::threads),
    guest("shm", locks::shm),
    guest("table", table::table),
    guest("signals", signals::signals),
];
