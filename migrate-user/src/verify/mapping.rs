//! The mappings of a process, as far as they have to be the same on both sides.

use super::error::VerifyError;
use crate::clocks;
use crate::sys::mappings;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// Kernel memory that is mapped into every process, and that the kernel alone writes: clocks, calls.
const KERNEL_S: [&str; 4] = ["[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]"];

/// What a mapping is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Of {
    Anonymous,
    Heap,
    /// The first task's: it grows downwards by itself, and the replica's may have grown further.
    Stack,
    /// Private pages of a file, by its name in the container.
    File(String),
    /// An object that processes can share, numbered in the order of its first mapping: what shares one in the source must share
    /// one in the replica.
    Shared(u32),
}

impl Of {
    /// The kernel calls the whole of a mapping the heap that has a page of it, and joins the heap and anonymous memory beside it or does not by
    /// how their pages came to be, and by whether their writes are tracked.
    fn is_like(&self, other: &Self) -> bool {
        let plain = |of: &Self| matches!(of, Self::Anonymous | Self::Heap);
        self == other || (plain(self) && plain(other))
    }
}

/// A run of addresses with one protection and one object behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// `rwx`, as /proc/PID/maps shows it.
    pub protection: [u8; 3],
    /// Where it begins in the file or the shared object.
    pub offset: u64,
    pub of: Of,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protection = String::from_utf8_lossy(&self.protection);
        write!(f, "{:x}-{:x} {protection} {:x} {:?}", self.start, self.end, self.offset, self.of)
    }
}

impl Mapping {
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    pub(super) const fn is_shared(&self) -> bool {
        matches!(self.of, Of::Shared(_))
    }

    pub(super) fn is_writable(&self) -> bool {
        self.protection[1] == b'w'
    }

    /// Whether `next` is the same mapping gone on. The kernel joins neighbours or not by how their pages came to be, which is no
    /// part of what a program sees.
    fn goes_on_with(&self, next: &Self) -> bool {
        let follows = self.end == next.start && self.protection == next.protection && self.of.is_like(&next.of);
        let in_file = matches!(self.of, Of::File(_) | Of::Shared(_));
        follows && (!in_file || self.offset + (self.end - self.start) == next.offset)
    }

    /// Whether both sides map the same here.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let start = self.start == other.start || (self.of == Of::Stack && other.of == Of::Stack);
        let offset = self.offset == other.offset || !matches!(self.of, Of::File(_) | Of::Shared(_));
        start && offset && self.end == other.end && self.protection == other.protection && self.of.is_like(&other.of)
    }
}

/// The objects behind shared mappings, by device and inode.
#[derive(Debug, Default)]
pub(super) struct Objects(HashMap<(String, u64), u32>);

impl Objects {
    fn number(&mut self, device: &str, inode: u64) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry((device.to_owned(), inode)).or_insert(next)
    }
}

/// Those of a process, from the text of /proc/PID/maps; neighbours that are one to a program are one here.
pub(super) fn parse(pid: i32, maps: &str, objects: &mut Objects) -> Result<Vec<Mapping>, VerifyError> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in maps.lines() {
        let fail = || VerifyError::Maps { pid, line: line.to_owned() };
        let Some(mut mapping) = seen(mappings::Mapping::parse(line).ok_or_else(fail)?, objects) else { continue };
        if mapping.end == clocks::OWN_RANGE.end && clocks::are_there(pid) {
            mapping.end = clocks::OWN_RANGE.start;
            // The kernel divides it where what is tracked ends.
            if mapping.start >= mapping.end {
                continue;
            }
        }
        match all.last_mut() {
            Some(last) if last.goes_on_with(&mapping) => {
                last.end = mapping.end;
                if mapping.of == Of::Heap {
                    last.of = Of::Heap;
                }
            }
            _ => all.push(mapping),
        }
    }
    Ok(all)
}

/// `None`: of the kernel's.
fn seen(line: mappings::Mapping<'_>, objects: &mut Objects) -> Option<Mapping> {
    let name = line.name;
    if KERNEL_S.contains(&name) {
        return None;
    }
    let [read, write, execute, sharing] = line.rights;
    let of = match (sharing, name) {
        (b's', _) => Of::Shared(objects.number(line.device, line.inode)),
        (_, "[heap]") => Of::Heap,
        (_, "[stack]") => Of::Stack,
        _ if line.inode == 0 => Of::Anonymous,
        (_, name) => Of::File(name.to_owned()),
    };
    let Range { start, end } = line.range;
    Some(Mapping { start, end, protection: [read, write, execute], offset: line.offset, of })
}

/// The first mapping in which two processes differ.
pub(super) fn difference(tid: u32, theirs: &[Mapping], ours: &[Mapping]) -> Result<(), VerifyError> {
    let at = theirs.iter().zip(ours).position(|(theirs, ours)| !theirs.is_like(ours));
    let at = at.unwrap_or(theirs.len().min(ours.len()));
    match (theirs.get(at), ours.get(at)) {
        (None, None) => Ok(()),
        (theirs, ours) => {
            let boxed = |mapping: Option<&Mapping>| mapping.cloned().map(Box::new);
            Err(VerifyError::Mapping { tid, theirs: boxed(theirs), ours: boxed(ours) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0001000 r-xp 00000000 08:01 12                         /bin/x y
55d0c0001000-55d0c0002000 r-xp 00001000 08:01 12                         /bin/x y
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rw-s 00000000 00:01 77                         /dev/zero (deleted)
7f0000002000-7f0000003000 rw-p 00000000 00:00 0 
7f0000003000-7f0000004000 rw-p 00000000 00:00 0 
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]
7ffe00030000-7ffe00034000 r--p 00000000 00:00 0                          [vvar]
7ffe00034000-7ffe00036000 r-xp 00000000 00:00 0                          [vdso]
";

    fn parsed(maps: &str) -> Vec<Mapping> {
        parse(1, maps, &mut Objects::default()).unwrap()
    }

    #[test]
    fn neighbours_that_a_program_cannot_tell_apart_are_one_and_the_kernel_s_are_left_out() {
        let found: Vec<_> = parsed(MAPS).into_iter().map(|mapping| (mapping.end - mapping.start, mapping.of)).collect();
        let expected = [
            (0x2000, Of::File("/bin/x y".into())),
            (0x21000, Of::Heap),
            (0x1000, Of::Shared(0)),
            (0x2000, Of::Anonymous),
            (0x21000, Of::Stack),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_stack_that_has_grown_further_is_the_same_and_everything_else_is_told() {
        let ours = parsed(&MAPS.replace("7ffe00000000", "7ffdffff0000"));
        assert!(difference(1, &parsed(MAPS), &ours).is_ok());
        for (from, to) in
            [("rw-p 00000000 00:00 0 \n", "r--p 00000000 00:00 0 \n"), ("55d0c1021000", "55d0c1022000"), ("/bin/x y", "/bin/z")]
        {
            let why = difference(1, &parsed(MAPS), &parsed(&MAPS.replace(from, to))).unwrap_err().to_string();
            assert!(why.contains("another layout"), "{why}");
        }
        let shorter = MAPS.lines().skip(2).map(|line| format!("{line}\n")).collect::<String>();
        assert!(difference(1, &parsed(MAPS), &parsed(&shorter)).is_err());
    }

    #[test]
    fn the_heap_and_memory_beside_it_are_one_however_the_kernel_shows_them() {
        let heap = "55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0 [heap]\n";
        let beside = "55d0c1021000-55d0c1022000 rw-p 00000000 00:00 0 \n";
        let joined = "55d0c1000000-55d0c1022000 rw-p 00000000 00:00 0 [heap]\n";
        assert!(difference(1, &parsed(&format!("{heap}{beside}")), &parsed(joined)).is_ok());
        let before = "55d0c0fff000-55d0c1000000 rw-p 00000000 00:00 0 \n";
        let joined = "55d0c0fff000-55d0c1021000 rw-p 00000000 00:00 0 [heap]\n";
        assert_eq!(parsed(&format!("{before}{heap}")), parsed(joined));
        assert!(difference(1, &parsed(heap), &parsed(joined)).is_err());
    }

    #[test]
    fn an_object_that_two_processes_map_has_one_number() {
        let mut objects = Objects::default();
        let line = "7f0000000000-7f0000001000 rw-s 00000000 00:01 77 /dev/zero (deleted)\n";
        let other = "7f0000001000-7f0000002000 rw-s 00000000 00:01 78 /memfd:x (deleted)\n";
        let first = parse(1, &format!("{line}{other}"), &mut objects).unwrap();
        let second = parse(2, other, &mut objects).unwrap();
        assert_eq!([&first[0].of, &first[1].of, &second[0].of], [&Of::Shared(0), &Of::Shared(1), &Of::Shared(1)]);
    }
}
