//! Instructions with a `rep` prefix: an interrupt can come between two of their turns.

use crate::sys::ptrace::{self, Pid, Regs};
use iced_x86::{Decoder, DecoderOptions, OpKind, Register};

/// The longest instruction.
const INSTRUCTION_BYTES: usize = 15;
const DIRECTION_FLAG: u64 = 0x400;

/// An instruction that repeats rcx times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rep {
    /// Bytes of the instruction.
    pub(super) len: u64,
    /// Bytes that rsi and rdi move by with each turn; 0 where the register is not used.
    source: u64,
    destination: u64,
}

impl Rep {
    pub(super) fn at(pid: Pid, ip: u64) -> Option<Self> {
        let mut code = [0; INSTRUCTION_BYTES];
        // A mapping may end behind it.
        let len = (1..=INSTRUCTION_BYTES).rev().find(|len| ptrace::read_memory(pid, ip, &mut code[..*len]).is_ok())?;
        Self::decode(&code[..len])
    }

    /// One that counts in ecx (prefix 67) is not recognised, nor one that speaks to a port.
    fn decode(code: &[u8]) -> Option<Self> {
        let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
        let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        let speaks = (0..instruction.op_count()).any(|n| instruction.op_register(n) == Register::DX);
        if !repeats || !instruction.is_string_instruction() || speaks {
            return None;
        }
        let size = |kind| {
            let uses = instruction.op_kinds().any(|of| of == kind);
            if uses { instruction.memory_size().size() as u64 } else { 0 }
        };
        let rep =
            Self { len: instruction.len() as u64, source: size(OpKind::MemorySegRSI), destination: size(OpKind::MemoryESRDI) };
        (rep.source | rep.destination != 0).then_some(rep)
    }

    /// How many turns take `from` to `to`. `None`: no number does.
    pub(super) fn turns(&self, from: &Regs, to: &Regs) -> Option<u64> {
        let turns = from.rcx.checked_sub(to.rcx).filter(|turns| *turns > 0)?;
        let moved = |register: u64, size: u64| {
            let by = turns.wrapping_mul(size);
            if from.eflags & DIRECTION_FLAG == 0 { register.wrapping_add(by) } else { register.wrapping_sub(by) }
        };
        let fits = moved(from.rsi, self.source) == to.rsi && moved(from.rdi, self.destination) == to.rdi && from.rsp == to.rsp;
        fits.then_some(turns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_repeat_are_told_by_their_prefixes() {
        let rep = |len, source, destination| Some(Rep { len, source, destination });
        assert_eq!(Rep::decode(&[0xf3, 0xa4, 0xc3]), rep(2, 1, 1));
        assert_eq!(Rep::decode(&[0xf3, 0x48, 0xa5, 0xc3]), rep(3, 8, 8));
        assert_eq!(Rep::decode(&[0xf3, 0x48, 0xab]), rep(3, 0, 8));
        assert_eq!(Rep::decode(&[0x66, 0xf3, 0xab]), rep(3, 0, 2));
        assert_eq!(Rep::decode(&[0xf2, 0xae]), rep(2, 0, 1));
        assert_eq!(Rep::decode(&[0xf3, 0x44, 0xad]), rep(3, 4, 0));
        // Not one: without the prefix, pause, a scalar instruction, an end, counted in ecx, from a port.
        for other in [&[0xa4, 0xc3][..], &[0xf3, 0x90], &[0xf3, 0x0f, 0x10, 0x00], &[0xf3], &[0x67, 0xf3, 0xa4], &[0xf3, 0x6c]] {
            assert_eq!(Rep::decode(other), None);
        }
    }
}
