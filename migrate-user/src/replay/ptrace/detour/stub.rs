//! The code that compares registers and memory at the CPU's own speed.
//!
//! ```text
//!   entry:      mov [saved], rax; lahf; seto al           the flags in ax, where no push has to save them
//!               cmp r, [wanted r]; jne out                for each register, the likeliest to differ first
//!               cmp ah, flags; jne out; cmp al, overflow; jne out
//!               mov [flags], rax
//!               mov rax, [address n]; mov rax, [rax]; cmp rax, [word n]; jne out of words
//!               mov rax, [flags]; add al, 127; sahf; mov rax, [saved]
//!               int3                                      as in the program, all that was compared is equal
//!               jmp displaced
//!   out of words: mov rax, [flags]
//!   out:        add al, 127; sahf; mov rax, [saved]
//!   displaced:  the program's instructions, and a jump back behind them
//! ```
//! The stack is not touched. Data lies in a page of its own: a CPU that writes next to what it executes starts again each time.

use crate::displace::{Displaced, Refusal};
use crate::sys::pagemap::PAGE_BYTES;
use crate::sys::ptrace::Regs;

/// Words of memory that can be compared.
pub(super) const WORDS: usize = 8;
/// General registers.
pub(super) const REGISTERS: usize = 16;
/// The flags that `lahf` gives, without the bits that are fixed: sign, zero, adjust, parity and carry.
const STATUS: u64 = 0xd5;
/// What the bit between parity and carry always is.
const FIXED: u64 = 2;
const OVERFLOW: u64 = 1 << 11;
const RAX: usize = 0;

/// Words of the data page.
const SAVED: usize = 0;
const FLAGS: usize = 1;
/// Nothing but 0: what a word that is not compared yet is compared with.
const ZERO: usize = 2;
const WANTED: usize = 3;
const MEMORY: usize = WANTED + REGISTERS;
pub(super) const DATA_WORDS: usize = MEMORY + 2 * WORDS;

/// General registers as instructions number them.
pub(super) fn numbered(regs: &Regs) -> [u64; REGISTERS] {
    #[rustfmt::skip]
    let all = [
        regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi,
        regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ];
    all
}

/// What lies in two pages at `at`: the code, and the data.
#[derive(Debug)]
pub(super) struct Stub {
    pub(super) at: u64,
    pub(super) code: Vec<u8>,
    pub(super) data: [u64; DATA_WORDS],
    /// Behind the `int3`.
    pub(super) hit: u64,
    /// The program's instructions.
    pub(super) displaced: u64,
    /// Addresses here, ascending, and which in the program they stand for.
    places: Vec<(u64, u64)>,
    /// The place itself.
    ip: u64,
}

impl Stub {
    /// For the place of `wanted`, which is that of `displaced`. Registers are compared in the order of their numbers in `order`.
    pub(super) fn new(at: u64, wanted: &Regs, displaced: &Displaced, order: &[usize; REGISTERS]) -> Result<Self, Refusal> {
        let values = numbered(wanted);
        let mut asm = Assembler { at, code: Vec::new(), out: Vec::new() };
        asm.data(&[0x48, 0x89, 0x05], SAVED, &[]);
        asm.code.extend([0x9f, 0x0f, 0x90, 0xc0]);
        for register in order {
            if *register == RAX {
                // It has the flags now: what was saved is compared, in halves.
                let [low, high] = [values[RAX] as u32, (values[RAX] >> 32) as u32];
                asm.compare_saved(0, low);
                asm.compare_saved(4, high);
            } else {
                let number = *register as u8;
                asm.data(&[0x48 | (number & 8) >> 1, 0x3b, 0x05 | (number & 7) << 3], WANTED + register, &[]);
                asm.jump_out();
            }
        }
        asm.code.extend([0x80, 0xfc, (wanted.eflags & STATUS | FIXED) as u8]);
        asm.jump_out();
        asm.code.extend([0x3c, u8::from(wanted.eflags & OVERFLOW != 0)]);
        asm.jump_out();
        asm.data(&[0x48, 0x89, 0x05], FLAGS, &[]);
        let out_of_registers = std::mem::take(&mut asm.out);
        for word in 0..WORDS {
            asm.data(&[0x48, 0x8b, 0x05], MEMORY + 2 * word, &[]);
            asm.code.extend([0x48, 0x8b, 0x00]);
            asm.data(&[0x48, 0x3b, 0x05], MEMORY + 2 * word + 1, &[]);
            asm.jump_out();
        }
        asm.data(&[0x48, 0x8b, 0x05], FLAGS, &[]);
        asm.restore();
        asm.code.push(0xcc);
        let hit = asm.here();
        let out_of_words = std::mem::take(&mut asm.out);
        // jmp displaced
        asm.code.push(0xe9);
        let from = asm.code.len();
        asm.code.extend([0; 4]);
        asm.land(&out_of_words);
        asm.data(&[0x48, 0x8b, 0x05], FLAGS, &[]);
        asm.land(&out_of_registers);
        asm.restore();
        asm.land(&[from]);
        let start = asm.here();
        let relocated = displaced.relocate(start)?;
        let places = relocated.places.iter().map(|(offset, original)| (start + *offset as u64, *original)).collect();
        asm.code.extend(&relocated.code);
        let mut data = [0; DATA_WORDS];
        data[WANTED..WANTED + REGISTERS].copy_from_slice(&values);
        for word in 0..WORDS {
            data[MEMORY + 2 * word] = at + PAGE_BYTES + 8 * ZERO as u64;
        }
        Ok(Self { at, code: asm.code, data, hit, displaced: start, places, ip: displaced.ip })
    }

    /// From now on a word of memory is compared, too. Returns where in memory the two words lie that say so, and what they are.
    pub(super) fn compare_word(&mut self, number: usize, addr: u64, word: u64) -> (u64, [u64; 2]) {
        let at = MEMORY + 2 * number;
        self.data[at..at + 2].copy_from_slice(&[addr, word]);
        (self.at + PAGE_BYTES + 8 * at as u64, [addr, word])
    }

    /// The program's address of what stands at `ip`; `None` if that is not here.
    pub(super) fn original(&self, ip: u64) -> Option<u64> {
        if !(self.at..self.at + PAGE_BYTES).contains(&ip) {
            return None;
        }
        let place = self.places.iter().rev().find(|(here, _)| *here <= ip);
        Some(place.map_or(self.ip, |(_, original)| *original))
    }
}

/// Machine code, and the jumps in it whose target comes later.
struct Assembler {
    at: u64,
    code: Vec<u8>,
    /// Where displacements of `jne` to the way out lie.
    out: Vec<usize>,
}

impl Assembler {
    fn here(&self) -> u64 {
        self.at + self.code.len() as u64
    }

    /// An instruction whose operand is a word of the data page, `behind` the operand's displacement.
    fn data(&mut self, opcode: &[u8], word: usize, behind: &[u8]) {
        self.data_byte(opcode, 8 * word, behind);
    }

    fn data_byte(&mut self, opcode: &[u8], byte: usize, behind: &[u8]) {
        let end = self.code.len() + opcode.len() + 4 + behind.len();
        let by = (PAGE_BYTES as usize + byte - end) as u32;
        self.code.extend(opcode);
        self.code.extend(by.to_le_bytes());
        self.code.extend(behind);
    }

    /// `cmp dword [saved + offset], imm32; jne out`
    fn compare_saved(&mut self, offset: usize, half: u32) {
        self.data_byte(&[0x81, 0x3d], 8 * SAVED + offset, &half.to_le_bytes());
        self.jump_out();
    }

    /// `jne out`
    fn jump_out(&mut self) {
        self.code.extend([0x0f, 0x85]);
        self.out.push(self.code.len());
        self.code.extend([0; 4]);
    }

    /// Flags and rax as they were: what `lahf` and `seto` gave is in ax.
    fn restore(&mut self) {
        self.code.extend([0x04, 0x7f, 0x9e]);
        self.data(&[0x48, 0x8b, 0x05], SAVED, &[]);
    }

    /// Jumps whose displacements lie there come here.
    fn land(&mut self, jumps: &[usize]) {
        for at in jumps {
            let by = (self.code.len() - at - 4) as u32;
            self.code[*at..at + 4].copy_from_slice(&by.to_le_bytes());
        }
    }
}
