//! Clock reads that are no system calls: what a process has in the vDSO's place.
//!
//! [`migrate_common::clocks`] says what and where; the programs' half is `migrate-ebpf/src/clocks.rs`.
//!
//! ```text
//!   the gate, at an exec of the source        install(.., Side::Source)      real = the kernel's vDSO
//!   replay, at the replica's new image        install(.., Side::Replica)     real = 0: answers come from the log
//!   the log                                   Kind::Clocks
//!   replay, at that record                    answers into the slots         supply
//!   a task that the freeze caught reading     as if it had not begun         begin_instead
//!   the replica goes live                     real = its kernel's vDSO       go_live
//! ```

mod code;
mod image;

use crate::sys::ptrace::{self, Pid, Regs};
use crate::sys::{release, vdso};
use image::Image;
use migrate_common::clocks::{
    ARITHMETIC_FLAGS, BEGIN_FLAGS, CODE, END, FRAME_BYTES, Frame, LOG, Log, MAGIC, OWN, Own, STACK_WORDS, WIPED_BYTES,
};
use std::io;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::LazyLock;

static IMAGE: LazyLock<Image> = LazyLock::new(Image::new);

/// Where the code is: between two instructions of it nothing may be done that a replica could not do there.
pub const CODE_RANGE: Range<u64> = CODE..LOG;
/// What is not compared.
pub const OWN_RANGE: Range<u64> = OWN..END;

/// Clock sources that the vDSO can read, arch/x86 of Linux 6.18. With another it makes a system call, which a replica would not.
const READABLE: [&str; 3] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"];
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// The clocks that are read without a call.
const ANSWERED: [i32; 7] = [
    libc::CLOCK_REALTIME,
    libc::CLOCK_MONOTONIC,
    libc::CLOCK_MONOTONIC_RAW,
    libc::CLOCK_REALTIME_COARSE,
    libc::CLOCK_MONOTONIC_COARSE,
    libc::CLOCK_BOOTTIME,
    libc::CLOCK_TAI,
];
/// Between a reading's frame and what the vDSO puts on the stack: room for the answer, and what aligns it.
const ROOM_BYTES: u64 = 40;

/// Why clock reads stay system calls on this host. `None`: they need not.
#[must_use]
pub fn obstacle() -> Option<String> {
    // A task's end is told while it still has its memory, so that the readings in it can be told before.
    if release::running() < Some((6, 16)) {
        return Some("that takes Linux 6.16".to_owned());
    }
    if vdso::clock_gettime().is_none() {
        return Some("the kernel has no vDSO with a clock".to_owned());
    }
    match std::fs::read_to_string(CLOCK_SOURCE) {
        Ok(source) if READABLE.contains(&source.trim()) => {}
        Ok(source) => return Some(format!("the vDSO cannot read the clock source {}", source.trim())),
        Err(error) => return Some(format!("{CLOCK_SOURCE}: {error}")),
    }
    match vdso::clock_gettime_stack(&ANSWERED) {
        Ok(bytes) if bytes as u64 + ROOM_BYTES <= WIPED_BYTES => None,
        Ok(bytes) => Some(format!("the vDSO leaves its traces on {bytes} bytes of the stack")),
        Err(error) => Some(format!("the vDSO: {error}")),
    }
}

/// Whose process gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Replica,
}

/// Gives the process of a task at the first instruction of its image what it has in the vDSO's place. `call` has the task make a system call,
/// `write` writes to its memory. False: something else is there.
///
/// # Errors
/// Those of `call` and `write`, and of reading where the vDSO is. Half of it may be there then.
pub fn install<E: From<io::Error>>(
    pid: Pid,
    side: Side,
    mut call: impl FnMut(i64, [u64; 6]) -> Result<i64, E>,
    mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<bool, E> {
    let contents = contents(pid, side)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let word = |word: i32| u64::from(word.cast_unsigned());
    let mapped = call(libc::SYS_mmap, [CODE, END - CODE, word(writable), word(flags), u64::MAX, 0])?;
    if mapped.cast_unsigned() != CODE {
        return Ok(false);
    }
    write(CODE, &contents)?;
    let executable = libc::PROT_READ | libc::PROT_EXEC;
    match call(libc::SYS_mprotect, [CODE, LOG - CODE, word(executable), 0, 0, 0])? {
        0 => Ok(true),
        error => Err(io::Error::from_raw_os_error(i32::try_from(-error).unwrap_or(libc::EIO)).into()),
    }
}

/// All pages.
fn contents(pid: Pid, side: Side) -> io::Result<Vec<u8>> {
    let mut bytes = IMAGE.bytes.clone();
    bytes.resize((LOG - CODE) as usize, 0);
    bytes.extend(bytemuck::bytes_of(&Log { magic: MAGIC, ..Log::default() }));
    bytes.resize((OWN - CODE) as usize, 0);
    let kernel_s = vdso::of(pid)?;
    let own = Own {
        real: if side == Side::Source { real(&kernel_s)? } else { 0 },
        vdso: kernel_s.start,
        vdso_end: kernel_s.end,
        begin: IMAGE.address(|code| code.begin),
        taken: IMAGE.address(|code| code.taken),
        kept: IMAGE.address(|code| code.kept),
    };
    bytes.extend(bytemuck::bytes_of(&own));
    bytes.resize((END - CODE) as usize, 0);
    Ok(bytes)
}

fn real(vdso: &Range<u64>) -> io::Result<u64> {
    let offset = vdso::clock_gettime().ok_or(io::ErrorKind::NotFound)?;
    Ok(vdso.start + offset)
}

/// Whether a process has all of this.
#[must_use]
pub fn are_there(pid: Pid) -> bool {
    let mut magic = [0; 8];
    ptrace::read_memory(pid, LOG, &mut magic).is_ok() && u64::from_le_bytes(magic) == MAGIC
}

/// Lets a replica's process ask its own kernel from here on.
///
/// # Errors
/// Those of reading where its vDSO is, and of writing to its memory.
pub fn go_live(pid: Pid) -> io::Result<()> {
    if !are_there(pid) {
        return Ok(());
    }
    let kernel_s = vdso::of(pid)?;
    let words = [real(&kernel_s)?, kernel_s.start, kernel_s.end];
    const _: () = assert!(offset_of!(Own, real) == 0 && offset_of!(Own, vdso) == 8 && offset_of!(Own, vdso_end) == 16);
    ptrace::write_memory(pid, OWN, bytemuck::cast_slice(&words))
}

/// Registers for a task that stands in the middle of a reading: those with which it begins. `None`: it does not.
///
/// # Errors
/// Those of reading its memory.
pub fn begin_instead(pid: Pid, regs: &Regs) -> io::Result<Option<Regs>> {
    let mut own = Own::default();
    if !are_there(pid) || ptrace::read_memory(pid, OWN, bytemuck::bytes_of_mut(&mut own)).is_err() || !own.reads(regs.rip) {
        return Ok(None);
    }
    let mut stack = [0; STACK_WORDS];
    ptrace::read_memory(pid, regs.rsp, bytemuck::cast_slice_mut(&mut stack))?;
    let Some(at) = own.frame(&stack) else { return Ok(None) };
    let rsp = regs.rsp + 8 * at as u64;
    let Frame { r8, rdi, r15, r14, r13, r12, rbx } =
        bytemuck::pod_read_unaligned(bytemuck::cast_slice(&stack[at..at + FRAME_BYTES as usize / 8]));
    Ok(Some(Regs {
        rip: own.begin,
        rsp,
        rbp: rsp + FRAME_BYTES,
        eflags: regs.eflags & !ARITHMETIC_FLAGS | BEGIN_FLAGS,
        rax: 0,
        rcx: 0,
        rdx: 0,
        rsi: 0,
        r9: 0,
        r10: 0,
        r11: 0,
        r8,
        rdi,
        r15,
        r14,
        r13,
        r12,
        rbx,
        ..*regs
    }))
}

/// Whether an instruction is one of a reading, or one of the kernel's vDSO: a signal there would find what no replica has.
#[must_use]
pub fn is_inside(pid: Pid, ip: u64) -> bool {
    if CODE_RANGE.contains(&ip) {
        return are_there(pid);
    }
    vdso::of(pid).is_ok_and(|vdso| vdso.contains(&ip)) && are_there(pid)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
