//! Random numbers, clocks, and what the kernel says about itself and the process.

mod clocks;
mod cpu;
mod identity;
mod machine;
mod random;

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Data, run }
}

pub const GUESTS: &[Guest] = &[
    guest("getrandom", random::getrandom),
    guest("urandom", random::urandom),
    guest("urandom_large", random::urandom_large),
    guest("hash_seed", random::hash_seed),
    guest("clock_gettime", clocks::clock_gettime),
    guest("clock_raw", clocks::clock_raw),
    guest("gettimeofday", clocks::gettimeofday),
    guest("clock_loop", clocks::clock_loop),
    guest("cpu_time", cpu::cpu_time),
    guest("cpu_number", cpu::cpu_number),
    guest("uname", machine::uname),
    guest("sysinfo", machine::sysinfo),
    guest("auxv", machine::auxv),
    guest("identity", identity::identity),
];
