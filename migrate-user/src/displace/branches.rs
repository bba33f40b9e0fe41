//! Where branches in a piece of code lead to.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use std::ops::Range;

/// How far around a place indirect jumps are looked for, in bytes: a function's own.
const FUNCTION_BYTES: u64 = 16 * 1024;

/// Where each direct branch or call leads to that the code could have: one is taken to begin at every byte.
#[derive(Debug)]
pub(super) struct Branches {
    /// (target, where the branch is), sorted.
    targets: Vec<(u64, u64)>,
}

impl Branches {
    pub(super) fn of(base: u64, code: &[u8]) -> Self {
        let mut targets: Vec<_> = (0..code.len())
            .filter_map(|at| {
                let (len, by) = displacement(&code[at..])?;
                let at = base + at as u64;
                Some(((at + len).wrapping_add_signed(by), at))
            })
            .collect();
        targets.sort_unstable();
        Self { targets }
    }

    /// Whether something outside of `covered` leads into it behind its start.
    pub(super) fn lead_between(&self, covered: &Range<u64>) -> bool {
        let from = self.targets.partition_point(|(target, _)| *target <= covered.start);
        self.targets[from..].iter().take_while(|(target, _)| *target < covered.end).any(|(_, at)| !covered.contains(at))
    }
}

/// Length and displacement of a direct branch: `jcc`, `jmp`, `call`, `loop`, `jrcxz`, and `xbegin` to its abort.
fn displacement(code: &[u8]) -> Option<(u64, i64)> {
    let near = |bytes: &[u8]| Some(i64::from(i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)));
    match code {
        [0x70..=0x7f | 0xe0..=0xe3 | 0xeb, by, ..] => Some((2, i64::from(by.cast_signed()))),
        [0xe8 | 0xe9, rest @ ..] => Some((5, near(rest)?)),
        [0x0f, 0x80..=0x8f, rest @ ..] | [0xc7, 0xf8, rest @ ..] => Some((6, near(rest)?)),
        _ => None,
    }
}

/// Whether there is a jump around `ip` of which the code does not show where it leads to. One by a fixed word of memory leaves the
/// function, as those of a linkage table do.
pub(super) fn has_indirect(base: u64, code: &[u8], ip: u64) -> bool {
    let end = base + code.len() as u64;
    let from = base.max(ip.saturating_sub(FUNCTION_BYTES));
    let to = end.min(ip + FUNCTION_BYTES);
    let part = &code[(from - base) as usize..(to - base) as usize];
    // From the place on the instructions are known; up to it a sweep falls in step after a few.
    let (before, behind) = part.split_at((ip - from) as usize);
    [(from, before), (ip, behind)].into_iter().any(|(at, part)| {
        let mut decoder = Decoder::with_ip(64, part, at, DecoderOptions::NONE);
        decoder.iter().any(|one| one.flow_control() == FlowControl::IndirectBranch && !one.is_ip_rel_memory_operand())
    })
}
