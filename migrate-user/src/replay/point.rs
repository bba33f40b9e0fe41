//! An exact place in a task's user code: where the source's scheduler took the CPU from it, or a signal came.

use crate::record::Record;
use crate::sys::ptrace::{RESUME_FLAG, Regs};
use migrate_common::record::PT_REGS_BYTES;

/// The resume flag, which the kernel sets to pass a breakpoint, and the trap flag of a single step: not the program's.
const NOT_OF_THE_PROGRAM: u64 = RESUME_FLAG | 0x100;

/// A place in user code. Registers alone do not tell one turn of a loop or one level of a recursion from another, so memory is
/// part of it.
#[derive(Clone, Debug)]
pub struct Point {
    /// General registers, rip and flags as the program sees them. `orig_rax`, segments and their bases do not count.
    pub regs: Regs,
    /// Addresses, and the bytes there.
    pub memory: Vec<(u64, Vec<u8>)>,
}

impl Point {
    /// The place that a record tells: its first segment of [`PT_REGS_BYTES`] bytes at address 0, and the memory in the segments
    /// behind. `None` if it has none.
    #[must_use]
    pub fn from_record(record: &Record) -> Option<Self> {
        let mut segments = record.segments();
        let found = segments.find(|segment| segment.addr == 0 && segment.bytes.len() == PT_REGS_BYTES)?;
        let words: [u64; PT_REGS_BYTES / 8] = bytemuck::pod_read_unaligned(found.bytes);
        let [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss] = words;
        // SAFETY: all-zero bytes are a valid user_regs_struct.
        let none: Regs = unsafe { std::mem::zeroed() };
        #[rustfmt::skip]
        let regs = Regs {
            r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss, ..none
        };
        let memory = segments.filter(|segment| segment.addr != 0).map(|segment| (segment.addr, segment.bytes.to_vec())).collect();
        Some(Self { regs, memory })
    }

    /// The first register in which `regs` differ from the place, and both values. `None`: they are equal.
    #[must_use]
    pub fn differing(&self, regs: &Regs) -> Option<(&'static str, u64, u64)> {
        let here = compared(regs);
        let there = compared(&self.regs);
        here.into_iter().zip(there).find(|(here, there)| here.1 != there.1).map(|(here, there)| (here.0, there.1, here.1))
    }
}

/// What is compared, the likeliest to differ first.
fn compared(regs: &Regs) -> [(&'static str, u64); 18] {
    [
        ("rip", regs.rip),
        ("rsp", regs.rsp),
        ("rax", regs.rax),
        ("rcx", regs.rcx),
        ("rdx", regs.rdx),
        ("rsi", regs.rsi),
        ("rdi", regs.rdi),
        ("rbx", regs.rbx),
        ("rbp", regs.rbp),
        ("r8", regs.r8),
        ("r9", regs.r9),
        ("r10", regs.r10),
        ("r11", regs.r11),
        ("r12", regs.r12),
        ("r13", regs.r13),
        ("r14", regs.r14),
        ("r15", regs.r15),
        ("flags", regs.eflags & !NOT_OF_THE_PROGRAM),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_common::record::{HEADER_BYTES, Header, Kind};

    fn record(segments: &[(u64, Vec<u8>)]) -> Record {
        let head = Header { len: HEADER_BYTES as u32, kind: Kind::Switch as u8, ..Header::default() };
        let mut record = Record { head, payload: Vec::new() };
        for (addr, bytes) in segments {
            record.push_segment(*addr, bytes);
        }
        record
    }

    fn pt_regs() -> Vec<u8> {
        (0_u64..21).flat_map(|word| (word + 100).to_le_bytes()).collect()
    }

    #[test]
    fn a_place_is_read_from_the_kernels_order_of_registers() {
        let point = Point::from_record(&record(&[(0, pt_regs()), (119, vec![1, 2, 3])])).unwrap();
        let regs = point.regs;
        assert_eq!([regs.r15, regs.rbp, regs.rax, regs.rcx, regs.rdi], [100, 104, 110, 111, 114]);
        assert_eq!([regs.orig_rax, regs.rip, regs.eflags, regs.rsp], [115, 116, 118, 119]);
        assert_eq!(point.memory, [(119, vec![1, 2, 3])]);
    }

    #[test]
    fn what_stands_before_the_registers_is_no_memory_of_the_place() {
        let point = Point::from_record(&record(&[(0, vec![0; 48]), (0, pt_regs())])).unwrap();
        assert_eq!((point.regs.rip, point.memory.len()), (116, 0));
        assert!(Point::from_record(&record(&[(0, vec![0; 48])])).is_none());
        assert!(Point::from_record(&record(&[])).is_none());
    }

    #[test]
    fn flags_of_the_tracer_and_the_calls_number_do_not_count() {
        let point = Point::from_record(&record(&[(0, pt_regs())])).unwrap();
        let mut regs = point.regs;
        regs.orig_rax = 0;
        regs.eflags ^= RESUME_FLAG | 0x100;
        assert_eq!(point.differing(&regs), None);
        regs.eflags ^= 1;
        assert_eq!(point.differing(&regs).map(|found| found.0), Some("flags"));
    }
}
