//! Free addresses near a place.

use crate::sys::mappings::Mapping;

/// How far a jump leads, less what code and data around its two ends need.
const REACH: u64 = (1 << 31) - (1 << 20);
/// Below, nothing may be mapped: vm.mmap_min_addr.
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = 0x7fff_ffff_f000;

/// Where `bytes` are free in reach of `ip`, the nearest first. The last addresses below a stack are left to it.
pub(super) fn near<'a>(mappings: impl Iterator<Item = Mapping<'a>>, ip: u64, bytes: u64) -> Vec<u64> {
    let ends = std::iter::once((HIGHEST, HIGHEST, false));
    let taken = mappings.map(|one| (one.range.start, one.range.end, one.name.starts_with("[stack")));
    let mut found = Vec::new();
    let mut free = LOWEST;
    for (start, end, grows) in taken.filter(|(start, ..)| *start < HIGHEST).chain(ends) {
        if free + bytes <= start {
            found.push(free);
            if !grows {
                found.push(start - bytes);
            }
        }
        free = free.max(end);
    }
    found.retain(|at| at.abs_diff(ip) < REACH);
    found.sort_unstable_by_key(|at| at.abs_diff(ip));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, name: &str) -> Mapping<'_> {
        Mapping { range: start..end, rights: *b"rw-p", offset: 0, device: "00:00", inode: 0, name }
    }

    #[test]
    fn the_nearest_free_addresses_come_first_and_a_stack_has_room_to_grow() {
        let mappings =
            [mapping(0x40_0000, 0x41_0000, "a"), mapping(0x41_2000, 0x42_0000, "b"), mapping(0x60_0000, 0x61_0000, "[stack]")];
        assert_eq!(near(mappings.iter().cloned(), 0x40_f000, 0x2000), [0x41_0000, 0x3f_e000, 0x42_0000, 0x61_0000, 0x1_0000]);
        assert!(near(mappings.iter().cloned(), 0x40_f000, 0x3000)[0] != 0x41_0000);
        assert!(near(mappings.into_iter(), 1 << 40, 0x2000).is_empty());
    }
}
