//! /proc/PID/maps, proc(5): where memory is mapped, and how.

use super::ptrace::Pid;
use std::io;
use std::ops::Range;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    pub range: Range<u64>,
    /// `rwxp`, or `s` at the end; what is not allowed is `-`.
    pub rights: [u8; 4],
    /// Where it begins in the file.
    pub offset: u64,
    /// Of the file, as major:minor.
    pub device: &'a str,
    /// Of the file; 0: memory without one.
    pub inode: u64,
    /// A file, or a name of the kernel's in brackets, or nothing.
    pub name: &'a str,
}

impl<'a> Mapping<'a> {
    /// Of a line; `None` if it is none.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?.as_bytes().get(..4)?.try_into().ok()?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            range: hex(start)?..hex(end)?,
            rights,
            offset: hex(fields.next()?)?,
            device: fields.next()?,
            inode: fields.next()?.parse().ok()?,
            name: fields.next().unwrap_or_default().trim_start(),
        })
    }

    #[must_use]
    pub const fn is_readable(&self) -> bool {
        self.rights[0] == b'r'
    }

    #[must_use]
    pub const fn is_writable(&self) -> bool {
        self.rights[1] == b'w'
    }

    #[must_use]
    pub const fn is_executable(&self) -> bool {
        self.rights[2] == b'x'
    }

    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.rights[3] == b's'
    }
}

/// The mappings in the text of the file, in the order of their addresses.
pub fn parse(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    text.lines().filter_map(Mapping::parse)
}

/// The text of a process's file.
pub fn text(pid: Pid) -> io::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/maps"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_addresses_rights_and_name() {
        let maps = "00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/a b\n\
                    7f0000000000-7f0000001000 rwxs 00000000 00:05 7 /dev/zero (deleted)\n7ffc0000-7ffd0000 rw-p 00000000 00:00 0 \n";
        let found: Vec<_> = parse(maps).collect();
        assert_eq!((found[0].range.clone(), found[0].is_executable(), found[0].is_shared()), (0x40_0000..0x45_2000, true, false));
        assert_eq!((found[0].offset, found[0].device, found[0].inode), (0x1000, "08:02", 173_521));
        assert_eq!((found[0].name, found[1].name, found[2].name), ("/usr/bin/a b", "/dev/zero (deleted)", ""));
        assert!(found[1].is_shared() && !found[2].is_executable() && found[2].is_writable());
        assert_eq!(Mapping::parse("00400000-00452000 r-xp"), None);
    }
}
