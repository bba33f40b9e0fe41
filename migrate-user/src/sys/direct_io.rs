//! Descriptors that are read past the page cache: the kernel writes into pages that it has pinned, which write protection does not see.

use super::ptrace::Pid;
use std::io;

/// Whether a process has one, as /proc/PID/fdinfo shows it.
///
/// # Errors
/// `ENOENT` and `ESRCH` if the process has ended.
pub fn is_used(pid: Pid) -> io::Result<bool> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        match std::fs::read_to_string(entry?.path()) {
            Ok(text) if has_flag(&text) => return Ok(true),
            // Closed meanwhile.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(false)
}

fn has_flag(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & libc::O_DIRECT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_of_direct_reads_is_seen_among_others() {
        assert!(has_flag("pos:\t0\nflags:\t0140002\nmnt_id:\t27\n"));
        assert!(!has_flag("pos:\t0\nflags:\t0100002\nmnt_id:\t27\n"));
        assert!(!has_flag(""));
    }
}
