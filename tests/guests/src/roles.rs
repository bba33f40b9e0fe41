//! What guests exec: this program again, in a role. Their names begin with `@` and are not listed.

use crate::kit::{Result, clock};
use crate::{fd, process, signal};

/// A role gets the arguments behind its name.
pub type Role = fn(&[String]) -> Result;

/// The role of this name.
pub fn find(name: &str) -> Option<Role> {
    Some(match name {
        "@fds" => fd::role_fds,
        "@offset" => fd::role_offset,
        "@dispositions" => signal::role_dispositions,
        "@environment" => process::role_environment,
        "@hop" => process::role_hop,
        "@produce" => process::role_produce,
        "@invert" => process::role_invert,
        "@count" => process::role_count,
        "@echo" => process::role_echo,
        "@sleep" => sleep,
        "@exit" => exit,
        _ => return None,
    })
}

/// Sleeps so many milliseconds.
fn sleep(args: &[String]) -> Result {
    clock::sleep_ms(args[0].parse()?)
}

/// Exits with a code.
fn exit(args: &[String]) -> Result {
    std::process::exit(args[0].parse()?)
}
