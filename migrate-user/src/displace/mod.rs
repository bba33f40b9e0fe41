//! Instructions that can be run at another address, so that a jump can lie where they lay.
//!
//! A jump of [`JUMP_BYTES`] bytes may cover more than one instruction. That is safe if none of them puts its own address somewhere (a
//! call), and if nothing leads to one of them but the first. What direct branches lead to is read from the code around, at every byte
//! and not only where instructions are known to begin, so that none is overlooked. Where an indirect jump leads to is not known: with
//! one near, only an instruction is displaced that a jump covers alone.

mod branches;

use crate::sys::mappings;
use crate::sys::ptrace::{self, Pid};
use branches::Branches;
use iced_x86::{BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionBlock};
use std::cell::OnceCell;
use std::collections::VecDeque;

/// Bytes of `jmp rel32`.
pub const JUMP_BYTES: usize = 5;
/// How far around a place direct branches are looked for, in bytes.
const SURROUNDINGS: u64 = 64 * 1024;
/// How many instructions are followed to a place from which some can be displaced.
const FOLLOWED: usize = 32;
/// How many such places are told: the CPU has as many breakpoints.
const NEAR: usize = 4;

/// Why instructions stay where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no private code can be read at {0:#x}")]
    NoText(u64),
    #[error("the instruction at {0:#x} cannot run elsewhere")]
    Bound(u64),
    #[error("a branch leads between the instructions at {0:#x}")]
    Entered(u64),
    #[error("an indirect jump near {0:#x} may lead between the instructions there")]
    MayBeEntered(u64),
    #[error("the instructions at {0:#x} cannot reach what they refer to from {1:#x}")]
    OutOfReach(u64, u64),
}

/// Code of a task around a place, as it was when it was read.
#[derive(Debug)]
pub struct Text {
    base: u64,
    bytes: Vec<u8>,
    branches: OnceCell<Branches>,
}

impl Text {
    /// The code around `ip` in the mapping that it lies in.
    ///
    /// # Errors
    /// [`Refusal::NoText`] if that cannot be executed, belongs to the kernel, or is shared: others would run a jump that was put there.
    pub fn around(pid: Pid, ip: u64) -> Result<Self, Refusal> {
        let none = || Refusal::NoText(ip);
        let maps = mappings::text(pid).map_err(|_| none())?;
        let found = mappings::parse(&maps).find(|mapping| mapping.range.contains(&ip)).ok_or_else(none)?;
        if !found.is_executable() || found.is_shared() || found.name.starts_with("[v") {
            return Err(none());
        }
        let from = found.range.start.max(ip.saturating_sub(SURROUNDINGS));
        let to = found.range.end.min(ip + SURROUNDINGS);
        let mut bytes = vec![0; (to - from) as usize];
        ptrace::read_memory(pid, from, &mut bytes).map_err(|_| none())?;
        Ok(Self::new(from, bytes))
    }

    fn new(base: u64, bytes: Vec<u8>) -> Self {
        Self { base, bytes, branches: OnceCell::new() }
    }

    fn from(&self, ip: u64) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(ip.checked_sub(self.base)?).ok()?..)
    }

    fn instruction(&self, ip: u64) -> Option<Instruction> {
        let mut decoder = Decoder::with_ip(64, self.from(ip)?, ip, DecoderOptions::NONE);
        decoder.can_decode().then(|| decoder.decode()).filter(|instruction| !instruction.is_invalid())
    }

    /// The instructions that a jump at `ip` covers, if they can be run elsewhere.
    pub fn displace(&self, ip: u64) -> Result<Displaced, Refusal> {
        let mut instructions: Vec<Instruction> = Vec::new();
        let mut len = 0;
        while len < JUMP_BYTES {
            let at = ip + len as u64;
            let instruction = self.instruction(at).ok_or(Refusal::Bound(at))?;
            let ended = instructions.last().is_some_and(ends);
            if ended || self.is_bound(&instruction) || (len == 0 && repeats(&instruction)) {
                return Err(Refusal::Bound(at));
            }
            len += instruction.len();
            instructions.push(instruction);
        }
        let branches = self.branches.get_or_init(|| Branches::of(self.base, &self.bytes));
        let all = ip..ip + len as u64;
        let own = instructions.iter().any(|one| is_branch(one) && (all.start + 1..all.end).contains(&one.near_branch_target()));
        if own || branches.lead_between(&all) {
            return Err(Refusal::Entered(ip));
        }
        if instructions.len() > 1 && branches::has_indirect(self.base, &self.bytes, ip) {
            return Err(Refusal::MayBeEntered(ip));
        }
        let bytes = self.from(ip).map_or_else(Vec::new, |from| from[..len].to_vec());
        Ok(Displaced { ip, bytes, instructions })
    }

    /// It would do something else at another address.
    fn is_bound(&self, instruction: &Instruction) -> bool {
        use FlowControl::{Call, Exception, IndirectCall, Interrupt, XbeginXabortXend};
        // Those of the x87 note their own address.
        let x87 = self.from(instruction.ip()).is_none_or(is_x87);
        x87 || matches!(instruction.flow_control(), Call | IndirectCall | Interrupt | Exception | XbeginXabortXend)
    }

    /// Places of which a task at `ip` comes to one after a few instructions, whichever way it branches, and from which instructions can
    /// be displaced; `ip` alone if that is one. Empty: there are none, or a way leads past them.
    #[must_use]
    pub fn near(&self, ip: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let mut seen = Vec::new();
        let mut ways = VecDeque::from([ip]);
        while let Some(at) = ways.pop_front() {
            if seen.contains(&at) {
                continue;
            }
            seen.push(at);
            let Some(instruction) = self.instruction(at) else { continue };
            if self.displace(at).is_ok() {
                found.push(at);
            } else {
                match instruction.flow_control() {
                    FlowControl::Next => ways.push_back(instruction.next_ip()),
                    FlowControl::ConditionalBranch => ways.extend([instruction.near_branch_target(), instruction.next_ip()]),
                    FlowControl::UnconditionalBranch => ways.push_back(instruction.near_branch_target()),
                    FlowControl::Call if instruction.is_call_near() => ways.push_back(instruction.near_branch_target()),
                    _ => {}
                }
            }
            if seen.len() == FOLLOWED || found.len() == NEAR {
                break;
            }
        }
        found
    }
}

fn is_branch(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
}

/// What lies behind it is not reached from it.
fn ends(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::UnconditionalBranch | FlowControl::IndirectBranch | FlowControl::Return)
}

/// A breakpoint stops before it, an interrupt can come inside.
fn repeats(instruction: &Instruction) -> bool {
    instruction.is_string_instruction() && (instruction.has_rep_prefix() || instruction.has_repne_prefix())
}

fn is_x87(code: &[u8]) -> bool {
    let prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    code.iter().find(|byte| !prefix(byte)).is_some_and(|opcode| (0xd8..=0xdf).contains(opcode))
}

/// Instructions that lie one behind another, [`JUMP_BYTES`] bytes or more.
#[derive(Clone, Debug)]
pub struct Displaced {
    pub ip: u64,
    pub bytes: Vec<u8>,
    instructions: Vec<Instruction>,
}

/// The same for another address.
#[derive(Clone, Debug)]
pub struct Relocated {
    /// With a jump back behind.
    pub code: Vec<u8>,
    /// Where in `code` something begins, and the address that it has in the program.
    pub places: Vec<(usize, u64)>,
}

impl Displaced {
    /// Code for the address `to` that does the same, and goes on behind. Branches lead to where they lead in the program, to the first
    /// of these instructions too.
    pub fn relocate(&self, to: u64) -> Result<Relocated, Refusal> {
        let fail = || Refusal::OutOfReach(self.ip, to);
        let end = self.ip + self.bytes.len() as u64;
        let back = Instruction::with_branch(Code::Jmp_rel32_64, end).map_err(|_| fail())?;
        let mut instructions: Vec<_> = self.instructions.iter().copied().chain([back]).collect();
        let mut originals = Vec::new();
        for (at, instruction) in (to..).zip(&mut instructions) {
            originals.push(instruction.ip());
            // The encoder takes branches to instructions of the block for ones inside: nothing leads to these numbers.
            instruction.set_ip(at);
        }
        if let Some(last) = originals.last_mut() {
            *last = end;
        }
        let block = InstructionBlock::new(&instructions, to);
        let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS).map_err(|_| fail())?;
        let offsets = encoded.new_instruction_offsets.iter().map(|offset| *offset as usize);
        let places = offsets.zip(originals).filter(|(offset, _)| *offset < encoded.code_buffer.len()).collect();
        Ok(Relocated { code: encoded.code_buffer, places })
    }
}

#[cfg(test)]
mod tests;
