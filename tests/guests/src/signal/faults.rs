//! Signals that an instruction raises.

use std::arch::asm;
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use super::context::{RESUME, read_guarded, recover, write_guarded};
use crate::kit::{Chain, Result, WorkDir, fd, signal};

/// SIGSEGV: the handler gets the address and whether something is mapped there, and the program goes on behind the instruction.
pub fn segv(chain: &mut Chain) -> Result {
    signal::install(libc::SIGSEGV, recover, 0)?;
    let page = sys!(mmap(null_mut(), 4096, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0))?.cast::<u64>();
    for round in 0..50u64 {
        let nowhere = std::ptr::without_provenance_mut::<u64>(8 * (round as usize + 1));
        check_eq!(read_guarded(nowhere), None, "a read of address {nowhere:?}");
        check!(!write_guarded(page, round), "a write to a read-only page");
        check_eq!(read_guarded(page), Some(0), "a read of a page");
        let seen = signal::take(chain);
        let found: Vec<_> = seen.iter().map(|one| (one.signal, one.code, one.from)).collect();
        // SEGV_MAPERR and SEGV_ACCERR.
        check_eq!(found, [(libc::SIGSEGV, 1, nowhere as u64), (libc::SIGSEGV, 2, page as u64)], "signals");
    }
    sys!(munmap(page.cast(), 4096)).map(drop)
}

/// SIGBUS: a page of a mapping behind the file's end, there again when the file grows.
pub fn bus(chain: &mut Chain) -> Result {
    let _dir = WorkDir::enter()?;
    signal::install(libc::SIGBUS, recover, 0)?;
    let file = fd::create(c"file")?;
    sys!(ftruncate(file, 4096))?;
    let map = sys!(mmap(null_mut(), 8192, libc::PROT_READ, libc::MAP_SHARED, file, 0))?.cast::<u64>();
    // SAFETY: the second page of the mapping.
    let second = unsafe { map.add(512) };
    check_eq!(read_guarded(map), Some(0), "the page that the file has");
    check_eq!(read_guarded(second), None, "the page behind the end");
    let seen = signal::take(chain);
    check_eq!((seen.len(), seen[0].signal, seen[0].from), (1, libc::SIGBUS, second as u64), "signals");
    let word = chain.below(u64::MAX);
    sys!(pwrite(file, word.to_ne_bytes().as_ptr().cast(), 8, 4096))?;
    check_eq!(read_guarded(second), Some(word), "the page after the file grew");
    chain.num(word);
    sys!(ftruncate(file, 0))?;
    check_eq!(read_guarded(map), None, "the page after the file shrank");
    signal::take(chain);
    sys!(munmap(map.cast(), 8192))?;
    fd::close(file)
}

/// Divides, and tells whether the division was done: one that faults goes on behind it. One instruction in the program, however
/// the caller is compiled.
#[inline(never)]
fn divide(divisor: u64) -> u64 {
    let done: u64;
    // SAFETY: a division that faults when the divisor is 0 and goes on at the label with `done` 0.
    unsafe {
        asm!(
            "lea {done}, [rip + 2f]",
            "mov [{resume}], {done}",
            "xor {done:e}, {done:e}",
            "xor edx, edx",
            "div {divisor}",
            "mov {done:e}, 1",
            "2:",
            done = out(reg) done,
            divisor = in(reg) divisor,
            resume = in(reg) RESUME.as_ptr(),
            inout("rax") 100u64 => _,
            out("rdx") _,
            options(nostack),
        );
    }
    done
}

/// SIGFPE by a division by zero; the handler goes on behind it.
pub fn fpe(chain: &mut Chain) -> Result {
    signal::install(libc::SIGFPE, recover, 0)?;
    for round in 0..20u64 {
        check_eq!(divide(round % 2), round % 2, "divisions that were done");
    }
    let seen = signal::take(chain);
    check_eq!(seen.len(), 10, "signals");
    // FPE_INTDIV, with the instruction's address.
    check!(seen.iter().all(|one| one.signal == libc::SIGFPE && one.code == 1 && one.from == seen[0].from), "signals {seen:?}");
    Ok(())
}

/// SIGILL by an invalid instruction, SIGTRAP by a breakpoint instruction, behind which the program goes on by itself.
pub fn ill_trap(chain: &mut Chain) -> Result {
    signal::install(libc::SIGILL, recover, 0)?;
    signal::watch(libc::SIGTRAP, 0)?;
    for _ in 0..10 {
        // SAFETY: the invalid instruction goes on at the label, the breakpoint behind itself; no memory but RESUME.
        unsafe {
            asm!(
                "lea {scratch}, [rip + 2f]",
                "mov [{resume}], {scratch}",
                "ud2",
                "2:",
                "int3",
                scratch = out(reg) _,
                resume = in(reg) RESUME.as_ptr(),
                options(nostack),
            );
        }
    }
    let seen = signal::take(chain);
    let numbers: Vec<i32> = seen.iter().map(|one| one.signal).collect();
    check_eq!(numbers, [libc::SIGILL, libc::SIGTRAP].repeat(10), "signals");
    // SI_KERNEL is what int3 has for a code.
    check!(seen.iter().skip(1).step_by(2).all(|one| one.code == libc::SI_KERNEL), "codes of SIGTRAP: {seen:?}");
    chain.num(RESUME.load(Ordering::SeqCst));
    Ok(())
}
