//! The functions that a process calls in the vDSO's place.
//!
//! Source and replica run the same instructions with the same registers, but for the reading itself, from `begin` to `taken`: there the
//! source calls the kernel's vDSO and the replica looks into the log. Whatever that leaves in registers, flags and on the stack is made
//! equal before the answer is seen.

use migrate_common::clocks::{BEGIN_FLAGS, FRAME_BYTES, LOG, Log, OWN, Own, SLOTS, WIPED_BYTES};
use std::mem::offset_of;

const COUNT: u64 = LOG + offset_of!(Log, count) as u64;
const ANSWERS: u64 = LOG + offset_of!(Log, answers) as u64;
const REAL: u64 = OWN + offset_of!(Own, real) as u64;

const _: () = assert!(SLOTS == 32 && FRAME_BYTES == 56 && WIPED_BYTES == 12 * 16 && BEGIN_FLAGS == 0x44);

std::arch::global_asm!(
    ".pushsection .rodata.migrate_clocks, \"a\"",
    // Registers that the answer's way may have used, and a number for it: rcx.
    ".macro migrate_clocks_take",
    "xor edx, edx",
    "xor esi, esi",
    "xor edi, edi",
    "xor r8d, r8d",
    "xor r9d, r9d",
    "xor r10d, r10d",
    "xor r11d, r11d",
    "mov ecx, 1",
    "xadd [{count}], rcx",
    ".endm",
    ".balign 16",
    ".globl migrate_clocks_start, migrate_clocks_gettime, migrate_clocks_timeofday, migrate_clocks_time",
    ".globl migrate_clocks_begin, migrate_clocks_taken, migrate_clocks_kept, migrate_clocks_end",
    "migrate_clocks_start:",
    // int clock_gettime(clockid_t rdi, struct timespec *rsi)
    "migrate_clocks_gettime:",
    "endbr64",
    // What the kernel's vDSO answers: REALTIME 0, MONOTONIC 1, MONOTONIC_RAW 4, the coarse ones 5 and 6, BOOTTIME 7, TAI 11.
    "cmp edi, 11",
    "ja 2f",
    "mov eax, 0x8f3",
    "bt eax, edi",
    "jnc 2f",
    "push rsi",
    "call 5f",
    "pop rsi",
    "mov rcx, rax",
    "shr rcx, 30",
    "and eax, 0x3fffffff",
    "mov [rsi], rcx",
    "mov [rsi + 8], rax",
    "xor ecx, ecx",
    "xor eax, eax",
    "ret",
    "2:",
    "mov eax, 228",
    "syscall",
    "ret",
    ".balign 16",
    // int gettimeofday(struct timeval *rdi, struct timezone *rsi)
    "migrate_clocks_timeofday:",
    "endbr64",
    "test rsi, rsi",
    "jnz 2f",
    "test rdi, rdi",
    "jz 2f",
    "push rdi",
    "xor edi, edi",
    "call 5f",
    "pop rdi",
    "mov rcx, rax",
    "shr rcx, 30",
    "and eax, 0x3fffffff",
    // By 1000: right for every number of 32 bits.
    "imul rax, rax, 0x10624dd3",
    "shr rax, 38",
    "mov [rdi], rcx",
    "mov [rdi + 8], rax",
    "xor ecx, ecx",
    "xor eax, eax",
    "ret",
    "2:",
    "mov eax, 96",
    "syscall",
    "ret",
    ".balign 16",
    // time_t time(time_t *rdi), which is CLOCK_REALTIME_COARSE's seconds.
    "migrate_clocks_time:",
    "endbr64",
    "push rdi",
    "mov edi, 5",
    "call 5f",
    "pop rdi",
    "shr rax, 30",
    "test rdi, rdi",
    "jz 2f",
    "mov [rdi], rax",
    "2:",
    "xor ecx, ecx",
    "ret",
    ".balign 16",
    // The clock edi: rax, seconds and 30 bits of nanoseconds.
    "5:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    // It tells one reading from the next. As a low number it is no address of anything.
    "mov r8, [{count}]",
    "and r8d, 0xff",
    "push r8",
    "mov eax, r8d",
    "not eax",
    "test al, {last}",
    "jz 7f",
    "xor ecx, ecx",
    "xor edx, edx",
    "xor esi, esi",
    "xor r9d, r9d",
    "xor r10d, r10d",
    "xor r11d, r11d",
    "xor eax, eax",
    "cmp eax, eax",
    "migrate_clocks_begin:",
    "mov rax, [{real}]",
    "test rax, rax",
    "jz 3f",
    "lea rsp, [rsp - 24]",
    "and rsp, -16",
    "mov rsi, rsp",
    "mov rdi, [rbp - 48]",
    "call rax",
    "mov rax, [rsp]",
    "shl rax, 30",
    "or rax, [rsp + 8]",
    "lea rsp, [rbp - 56]",
    "jmp 4f",
    "3:",
    "mov rcx, [{count}]",
    "and ecx, {last}",
    "mov rax, [{answers} + rcx * 8]",
    "4:",
    "pxor xmm0, xmm0",
    ".set migrate_clocks_at, 16",
    ".rept 12",
    "movups [rsp - migrate_clocks_at], xmm0",
    ".set migrate_clocks_at, migrate_clocks_at + 16",
    ".endr",
    // From here on the registers are the same on both sides.
    "migrate_clocks_take",
    "migrate_clocks_taken:",
    "and ecx, {last}",
    "mov [{answers} + rcx * 8], rax",
    "migrate_clocks_kept:",
    "6:",
    "lea rsp, [rbp - 48]",
    "pop rdi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "xor edi, edi",
    "xor ecx, ecx",
    "ret",
    // The last slot's answer is a system call's: the recorder sees that, and whatever was not told before is told.
    "7:",
    "lea rsp, [rsp - 24]",
    "and rsp, -16",
    "mov rsi, rsp",
    "mov eax, 228",
    "syscall",
    "mov rax, [rsp]",
    "shl rax, 30",
    "or rax, [rsp + 8]",
    "lea rsp, [rbp - 56]",
    "migrate_clocks_take",
    "and ecx, {last}",
    "mov [{answers} + rcx * 8], rax",
    "jmp 6b",
    "migrate_clocks_end:",
    ".purgem migrate_clocks_take",
    ".popsection",
    count = const COUNT,
    answers = const ANSWERS,
    real = const REAL,
    last = const SLOTS - 1,
);

unsafe extern "C" {
    static migrate_clocks_start: u8;
    static migrate_clocks_gettime: u8;
    static migrate_clocks_timeofday: u8;
    static migrate_clocks_time: u8;
    static migrate_clocks_begin: u8;
    static migrate_clocks_taken: u8;
    static migrate_clocks_kept: u8;
    static migrate_clocks_end: u8;
}

/// The functions, and where in them things are: bytes from their start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    pub(super) bytes: &'static [u8],
    pub(super) clock_gettime: u64,
    pub(super) gettimeofday: u64,
    pub(super) time: u64,
    /// As in [`Own`].
    pub(super) begin: u64,
    pub(super) taken: u64,
    pub(super) kept: u64,
}

/// The functions.
pub(super) fn code() -> Code {
    let start = &raw const migrate_clocks_start;
    let at = |label: *const u8| label.addr() - start.addr();
    let offset = |label| at(label) as u64;
    // SAFETY: the assembler puts `migrate_clocks_end` behind the code that begins at `migrate_clocks_start`, which is constant.
    let bytes = unsafe { std::slice::from_raw_parts(start, at(&raw const migrate_clocks_end)) };
    Code {
        bytes,
        clock_gettime: offset(&raw const migrate_clocks_gettime),
        gettimeofday: offset(&raw const migrate_clocks_timeofday),
        time: offset(&raw const migrate_clocks_time),
        begin: offset(&raw const migrate_clocks_begin),
        taken: offset(&raw const migrate_clocks_taken),
        kept: offset(&raw const migrate_clocks_kept),
    }
}
