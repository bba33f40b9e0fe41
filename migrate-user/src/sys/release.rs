//! Which kernel this is.

/// `6.18.3-arch` -> (6, 18).
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The running kernel's, as `uname -r` prints it; empty if it does not say.
#[must_use]
pub fn name() -> String {
    nix::sys::utsname::uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned())
}

/// Of the running kernel; `None` if it does not say.
#[must_use]
pub fn running() -> Option<(u32, u32)> {
    version(&name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version("6.18.3-arch1"), Some((6, 18)));
        assert_eq!(version("5.9"), Some((5, 9)));
        assert!(version("5.9") < Some((5, 17)) && version("6.2") > Some((5, 17)));
        assert_eq!(version("odd"), None);
    }

    #[test]
    fn the_running_kernel_has_a_version() {
        assert!(running() > Some((3, 0)));
    }
}
