//! What a page is that differs.

use super::layout::Layout;
use super::mapping::Of;
use super::print::{Page, Space};
use super::registers::Tasks;
use crate::sys::pagemap::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Bytes below the stack pointer that a program may still use: the ABI's red zone.
pub(super) const RED_ZONE_BYTES: u64 = 128;
/// How far below the stack pointer of a thread, whose stack may lie beside other memory, bytes are taken for its stack's.
const THREAD_STACK_BYTES: u64 = 64 << 10;

/// Of a page that differs: whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only bytes that calls have left below the stack pointer: no program reads them.
    BelowStack,
    /// The kernel's, of rseq(2).
    Rseq,
    /// The number of the CPU on which the program began, which glibc keeps with everything else that `cpuid` says.
    CpuNumber,
    /// The dynamic loader's: it keeps how long it took, by `rdtsc`.
    Loader,
    /// Of a process with a task that computed when the source was frozen: it is further on than its last call.
    Computing,
    Heap,
    Other,
}

impl Kind {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BelowStack => "below_stack",
            Self::Rseq => "rseq",
            Self::CpuNumber => "cpu_number",
            Self::Loader => "loader",
            Self::Computing => "computing",
            Self::Heap => "heap",
            Self::Other => "other",
        }
    }

    /// Whether a correct replay leads to such a difference.
    #[must_use]
    pub const fn is_explained(self) -> bool {
        !matches!(self, Self::Heap | Self::Other)
    }

    /// Of a page that differs. `sides`: its bytes in source and replica; without them its place alone must tell.
    pub(super) fn of(page: Page, sides: Option<(&[u8], &[u8])>, layout: &Layout, tasks: &Tasks) -> Self {
        let bytes = sides.map_or(0..PAGE_BYTES, |(theirs, ours)| extent(theirs, ours));
        let Space::Process(tid) = page.space else {
            return if tasks.computing.is_empty() { Self::Other } else { Self::Computing };
        };
        let start = page.number * PAGE_BYTES;
        let bytes = start + bytes.start..start + bytes.end;
        let mapping = layout.mapping(tid, start);
        let of = mapping.map(|mapping| &mapping.of);
        let below = tasks.stacks.get(&tid).into_iter().flatten().any(|sp| {
            let near = of == Some(&Of::Stack) || mapping.is_none() || sp.saturating_sub(bytes.start) <= THREAD_STACK_BYTES;
            let same = mapping.is_none_or(|mapping| mapping.contains(*sp));
            same && near && bytes.end <= sp.saturating_sub(RED_ZONE_BYTES)
        });
        if below {
            return Self::BelowStack;
        }
        let within = |area: &Range<u64>| area.start <= bytes.start && bytes.end <= area.end;
        if tasks.rseq.get(&tid).into_iter().flatten().any(within) {
            return Self::Rseq;
        }
        if sides.is_some_and(|(theirs, ours)| is_cpu_number(theirs, ours)) {
            return Self::CpuNumber;
        }
        if is_loader(tid, start, layout) {
            return Self::Loader;
        }
        match of {
            _ if tasks.computing.contains(&tid) => Self::Computing,
            Some(Of::Heap) => Self::Heap,
            _ => Self::Other,
        }
    }
}

/// From the first byte that differs to the last.
pub(super) fn extent(theirs: &[u8], ours: &[u8]) -> Range<u64> {
    let mut differ = theirs.iter().zip(ours).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at as u64);
    let first = differ.next().unwrap_or(0);
    first..differ.next_back().unwrap_or(first) + 1
}

/// The initial APIC id in EBX of `cpuid`'s leaf 1.
const APIC_ID: u32 = 0xff00_0000;

/// EBX of `cpuid`'s leaf 1, without it.
fn cpuid_word() -> u32 {
    std::arch::x86_64::__cpuid(1).ebx & !APIC_ID
}

/// Whether a page has a word in which [`Kind::CpuNumber`] may show.
pub(super) fn holds_cpu_number(page: &[u8]) -> bool {
    let here = cpuid_word();
    page.as_chunks::<4>().0.iter().any(|word| u32::from_le_bytes(*word) & !APIC_ID == here)
}

/// Only words differ that are what `cpuid` says in EBX of its leaf 1, and of these only the highest byte: the initial APIC id.
fn is_cpu_number(theirs: &[u8], ours: &[u8]) -> bool {
    let here = cpuid_word();
    let (theirs, _) = theirs.as_chunks::<4>();
    let (ours, _) = ours.as_chunks::<4>();
    let mut words = theirs.iter().zip(ours).filter(|(a, b)| a != b);
    words.all(|(a, b)| [a, b].iter().all(|word| u32::from_le_bytes(**word) & !APIC_ID == here))
}

/// In the dynamic loader's data, or in what follows it without a file: its uninitialised data.
fn is_loader(tid: u32, address: u64, layout: &Layout) -> bool {
    let mappings = layout.mappings(tid);
    let Some(at) = mappings.iter().position(|mapping| mapping.contains(address)) else { return false };
    let named = |at: usize| match &mappings[at].of {
        Of::File(name) => name.rsplit('/').next().is_some_and(|name| name.starts_with("ld-") || name.starts_with("ld.so")),
        _ => false,
    };
    let follows = at > 0 && mappings[at].of == Of::Anonymous && mappings[at - 1].end == mappings[at].start && named(at - 1);
    named(at) || follows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_cpu_is_told_from_other_words() {
        let ebx = std::arch::x86_64::__cpuid(1).ebx & 0x00ff_ffff;
        let page = |word: u32| [[0; 8].as_slice(), &word.to_le_bytes(), &[0; 4]].concat();
        assert!(is_cpu_number(&page(ebx), &page(ebx | 1 << 24)));
        assert!(!is_cpu_number(&page(ebx), &page(ebx ^ 1)));
        assert!(!is_cpu_number(&page(0), &page(1 << 24)) || ebx == 0);
        assert_eq!(extent(&page(0), &page(0x0100_0100)), 9..12);
    }
}
