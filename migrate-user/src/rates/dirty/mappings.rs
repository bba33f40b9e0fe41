//! The mappings of a process whose pages a page-copying migration would have to send.

use crate::sys::mappings;
use std::io;

/// A mapping that can be written and whose pages live nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Of memory that processes share: its inode, by which it is counted once.
    pub(super) shared: Option<u64>,
}

/// Those of a process.
///
/// # Errors
/// `ENOENT` and `ESRCH` if it has ended.
pub(super) fn of(pid: i32) -> io::Result<Vec<Mapping>> {
    Ok(parse(&mappings::text(pid)?))
}

fn parse(maps: &str) -> Vec<Mapping> {
    mappings::parse(maps).filter_map(counted).collect()
}

fn counted(mapping: mappings::Mapping<'_>) -> Option<Mapping> {
    let (path, shared) = (mapping.name, mapping.is_shared());
    if !mapping.is_writable() {
        return None;
    }
    // What is written to a shared mapping of a file is in the file; memory without a file has one of these names.
    let in_memory = ["/dev/zero", "/memfd:", "/SYSV", "/dev/shm/", "/anon_hugepage"].iter().any(|name| path.starts_with(name));
    if (shared && !in_memory) || path == "[vsyscall]" {
        return None;
    }
    Some(Mapping { start: mapping.range.start, end: mapping.range.end, shared: shared.then_some(mapping.inode) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_memory_holds_is_counted_and_shared_memory_by_its_inode() {
        let maps = "\
55d0c0000000-55d0c0001000 r-xp 00000000 08:01 12 /bin/x
55d0c0002000-55d0c0003000 rw-p 00002000 08:01 12 /bin/x
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rw-s 00000000 00:01 77 /dev/zero (deleted)
7f0000002000-7f0000003000 rw-s 00000000 08:01 13 /data/db
7f0000004000-7f0000005000 r--s 00000000 00:01 78 /memfd:x (deleted)
";
        let expected = [
            Mapping { start: 0x55d0_c000_2000, end: 0x55d0_c000_3000, shared: None },
            Mapping { start: 0x55d0_c100_0000, end: 0x55d0_c102_1000, shared: None },
            Mapping { start: 0x7f00_0000_0000, end: 0x7f00_0000_1000, shared: Some(77) },
        ];
        assert_eq!(parse(maps), expected);
    }
}
