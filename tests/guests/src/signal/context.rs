//! Going on elsewhere: handlers that change the context that they return to.

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kit::process::Pester;
use crate::kit::signal::note;
use crate::kit::{Chain, Result, signal};

/// Where [`recover`] goes on: set right before the instruction that may fault.
pub static RESUME: AtomicU64 = AtomicU64::new(0);

/// A handler that notes the signal and goes on at [`RESUME`].
pub extern "C" fn recover(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    note(number, info, context);
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: with SA_SIGINFO the third argument is the context that the handler returns to.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] = RESUME.load(Ordering::SeqCst) as i64 };
}

/// Reads 8 bytes; `None` when the address faults and [`recover`] handles the signal.
pub fn read_guarded(address: *const u64) -> Option<u64> {
    let (value, done): (u64, u64);
    // SAFETY: the only memory read besides the address, which may fault, is RESUME; a fault goes on at the label with `done` 0.
    unsafe {
        asm!(
            "lea {value}, [rip + 2f]",
            "mov [{resume}], {value}",
            "xor {done:e}, {done:e}",
            "mov {value}, [{address}]",
            "mov {done:e}, 1",
            "2:",
            value = out(reg) value,
            done = out(reg) done,
            resume = in(reg) RESUME.as_ptr(),
            address = in(reg) address,
            options(nostack),
        );
    }
    (done == 1).then_some(value)
}

/// Writes 8 bytes; says whether it did not fault.
pub fn write_guarded(address: *mut u64, value: u64) -> bool {
    let done: u64;
    // SAFETY: the memory written besides the address, which may fault, is RESUME; a fault goes on at the label with `done` 0.
    unsafe {
        asm!(
            "lea {done}, [rip + 2f]",
            "mov [{resume}], {done}",
            "xor {done:e}, {done:e}",
            "mov [{address}], {value}",
            "mov {done:e}, 1",
            "2:",
            done = out(reg) done,
            value = in(reg) value,
            resume = in(reg) RESUME.as_ptr(),
            address = in(reg) address,
            options(nostack),
        );
    }
    done == 1
}

/// Waits in `ppoll` with this mask for ever; a handler that is [`recover`] goes on behind it, as a jump out of a handler does.
fn wait_until_jump(open: &libc::sigset_t) {
    // SAFETY: a system call that reads the mask (8 bytes of it); the kernel changes rax, rcx and r11.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "mov [{resume}], rax",
            "3:",
            "mov eax, 271",
            "syscall",
            "jmp 3b",
            "2:",
            resume = in(reg) RESUME.as_ptr(),
            in("rdi") 0,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") open,
            in("r8") 8,
            out("rax") _,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
}

/// A handler that does not return to the blocked call but jumps behind it, 20 times. The mask is the one from before the call.
pub fn long_jump(chain: &mut Chain) -> Result {
    let open = signal::block(&[libc::SIGUSR1])?;
    signal::install(libc::SIGUSR1, recover, libc::SA_RESTART)?;
    let pester = Pester::start(libc::SIGUSR1, 2)?;
    for _ in 0..20 {
        wait_until_jump(&open);
        check!(signal::has(&signal::block(&[])?, libc::SIGUSR1), "the mask is not what it was");
        check_eq!(signal::take(chain).len(), 1, "signals");
    }
    pester.stop(chain)
}
