//! What guests exec: this program again, in a role. Their names begin with `@` and are not listed.

use crate::fd;
use crate::kit::Result;

/// A role gets the arguments behind its name.
pub type Role = fn(&[String]) -> Result;

/// The role of this name.
pub fn find(name: &str) -> Option<Role> {
    Some(match name {
        "@fds" => fd::role_fds,
        "@offset" => fd::role_offset,
        _ => return None,
    })
}
