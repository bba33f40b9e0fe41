//! /proc/PID/maps, proc(5): where memory is mapped, and how.

use super::ptrace::Pid;
use std::io;
use std::ops::Range;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub range: Range<u64>,
    pub executable: bool,
    pub shared: bool,
    /// A file, or a name of the kernel's in brackets, or nothing.
    pub name: String,
}

/// A process's mappings in the order of their addresses.
pub fn of(pid: Pid) -> io::Result<Vec<Mapping>> {
    Ok(parse(&std::fs::read_to_string(format!("/proc/{pid}/maps"))?))
}

fn parse(maps: &str) -> Vec<Mapping> {
    let line = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let rights = rest.as_bytes().get(..4)?;
        Some(Mapping {
            range: u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?,
            executable: rights[2] == b'x',
            shared: rights[3] == b's',
            // Behind rights, offset, device and inode.
            name: rest.splitn(5, ' ').nth(4).unwrap_or_default().trim().to_owned(),
        })
    };
    maps.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_addresses_rights_and_name() {
        let maps = "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a b\n\
                    7f0000000000-7f0000001000 rwxs 00000000 00:05 7 /dev/zero (deleted)\n7ffc0000-7ffd0000 rw-p 00000000 00:00 0\n";
        let found = parse(maps);
        assert_eq!((found[0].range.clone(), found[0].executable, found[0].shared), (0x40_0000..0x45_2000, true, false));
        assert_eq!(
            (found[0].name.as_str(), found[1].name.as_str(), found[2].name.as_str()),
            ("/usr/bin/a b", "/dev/zero (deleted)", "")
        );
        assert!(found[1].shared && !found[2].executable);
    }
}
