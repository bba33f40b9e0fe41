//! What a container's first process inherits from the runtime: fixed addresses and shifted clocks.

use nix::sched::{CloneFlags, unshare};
use nix::sys::personality::{self, Persona};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Children of `command` lay out their address spaces without randomness, and so do their own, until one of them runs a
/// set-user-id program.
pub fn without_aslr(command: &mut Command) -> &mut Command {
    let disable = || {
        let persona = personality::get()?;
        personality::set(persona | Persona::ADDR_NO_RANDOMIZE)?;
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec and makes two plain system calls: no allocation, no lock.
    unsafe { command.pre_exec(disable) }
}

/// Offsets of a time namespace to the host's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffsets {
    pub monotonic_ns: i64,
    pub boottime_ns: i64,
}

impl ClockOffsets {
    /// As `/proc/PID/timens_offsets` takes them: seconds that may be negative, and nanoseconds that are not.
    #[must_use]
    pub fn to_proc(self) -> String {
        const SECOND: i64 = 1_000_000_000;
        let line = |clock, ns: i64| format!("{clock} {} {}\n", ns.div_euclid(SECOND), ns.rem_euclid(SECOND));
        line("monotonic", self.monotonic_ns) + &line("boottime", self.boottime_ns)
    }
}

/// The children that this process will have live in a new time namespace with these offsets. It must not have had one
/// since: the offsets are fixed with the first. Source: time_namespaces(7), Linux 5.6.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN; ERANGE where a clock would run below zero.
pub fn unshare_time(offsets: ClockOffsets) -> io::Result<()> {
    // nix has no name for it.
    unshare(CloneFlags::from_bits_retain(libc::CLONE_NEWTIME))?;
    std::fs::write("/proc/self/timens_offsets", offsets.to_proc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_offset_has_positive_nanoseconds() {
        let offsets = ClockOffsets { monotonic_ns: -1, boottime_ns: 2_000_000_003 };
        assert_eq!(offsets.to_proc(), "monotonic -1 999999999\nboottime 2 3\n");
    }

    #[test]
    fn children_have_the_same_addresses_each_time() {
        let stack = || {
            let mut command = Command::new("cat");
            let out = without_aslr(&mut command).arg("/proc/self/maps").output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        assert_eq!(stack(), stack());
    }
}
