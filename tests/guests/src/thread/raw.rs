//! Threads made by the system calls themselves, without the C library: what they run must not use it.

use std::arch::{asm, naked_asm};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::kit::process::wait;
use crate::kit::thread::tid;
use crate::kit::{Chain, Result};

/// A stack for a raw thread.
const STACK_BYTES: usize = 64 * 1024;

const THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID;

/// What a raw thread is told and tells.
#[derive(Debug, Default)]
struct Cell {
    /// Written by the kernel at its start, cleared at its end.
    tid: AtomicU32,
    /// What the thread counts.
    sum: AtomicU64,
    /// The number that it found itself.
    own: AtomicU64,
}

/// A system call of up to three arguments, with no thread-local errno.
fn bare(nr: i64, first: u64, second: u64, third: u64) -> i64 {
    let result;
    // SAFETY: callers pass plain values or pointers to live memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

extern "C" fn body(cell: &Cell) -> ! {
    cell.own.store(bare(libc::SYS_gettid, 0, 0, 0) as u64, Ordering::SeqCst);
    for step in 0..1000u64 {
        cell.sum.fetch_add(step, Ordering::SeqCst);
        if step % 100 == 0 {
            bare(libc::SYS_sched_yield, 0, 0, 0);
        }
    }
    bare(libc::SYS_exit, 0, 0, 0);
    unreachable!()
}

/// Behind the call a thread finds its argument in r12 and begins a stack frame of its own.
#[unsafe(naked)]
extern "C" fn enter(nr: i64, args: *const [u64; 5], cell: &Cell) -> i64 {
    naked_asm!(
        "push r12",
        "mov r12, rdx",
        "mov rax, rdi",
        "mov r11, rsi",
        "mov rdi, [r11]",
        "mov rsi, [r11 + 8]",
        "mov rdx, [r11 + 16]",
        "mov r10, [r11 + 24]",
        "mov r8, [r11 + 32]",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "pop r12",
        "ret",
        "2:",
        "xor ebp, ebp",
        "mov rdi, r12",
        "and rsp, -16",
        "call {body}",
        body = sym body,
    )
}

/// Starts [`body`] on a stack with these flags of clone; gives its number.
fn run_raw(flags: i32, stack: &mut [u128], cell: &Cell) -> Result<i32> {
    let top = stack.as_mut_ptr_range().end as u64;
    let number = (&raw const cell.tid) as u64;
    let args = [flags as u64, top, number, number, 0];
    let result = enter(libc::SYS_clone, &raw const args, cell);
    check!(result > 0, "clone gave {result}");
    Ok(result as i32)
}

/// Waits until the kernel has cleared a thread's number, as joining does.
fn join(cell: &Cell) -> Result {
    loop {
        let number = cell.tid.load(Ordering::SeqCst);
        if number == 0 {
            return Ok(());
        }
        crate::futex::wait_shared(&cell.tid, number)?;
    }
}

fn stack() -> Vec<u128> {
    vec![0; STACK_BYTES / 16]
}

fn check_cell(cell: &Cell, number: i32, chain: &mut Chain) -> Result {
    check_eq!(cell.sum.load(Ordering::SeqCst), 999 * 1000 / 2, "the thread's sum");
    check_eq!(cell.own.load(Ordering::SeqCst), number as u64, "the thread's own number");
    chain.num(number);
    Ok(())
}

/// `clone` with the flags of a thread: the kernel writes its number, clears it at the end and wakes who waits there.
pub fn clone_thread(chain: &mut Chain) -> Result {
    let mut stacks = [stack(), stack(), stack()];
    for _ in 0..3 {
        let cells: [Cell; 3] = Default::default();
        let mut numbers = Vec::new();
        for (stack, cell) in stacks.iter_mut().zip(&cells) {
            numbers.push(run_raw(THREAD, stack, cell)?);
        }
        for (cell, number) in cells.iter().zip(numbers) {
            join(cell)?;
            check_cell(cell, number, chain)?;
        }
    }
    Ok(())
}

/// The same by `clone3`, whose arguments are a structure.
pub fn clone3_thread(chain: &mut Chain) -> Result {
    let mut stack = stack();
    for _ in 0..5 {
        let cell = Cell::default();
        let number = (&raw const cell.tid) as u64;
        // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
        let ask = [THREAD as u64, 0, number, number, 0, stack.as_mut_ptr() as u64, STACK_BYTES as u64, 0];
        let args = [(&raw const ask) as u64, size_of_val(&ask) as u64, 0, 0, 0];
        let result = enter(libc::SYS_clone3, &raw const args, &cell);
        if result == -i64::from(libc::ENOSYS) {
            return crate::kit::unsupported("clone3");
        }
        check!(result > 0, "clone3 gave {result}");
        join(&cell)?;
        check_cell(&cell, result as i32, chain)?;
    }
    Ok(())
}

/// A process of its own in this one's memory, which runs at the same time and is waited for.
pub fn clone_vm(chain: &mut Chain) -> Result {
    let mut stack = stack();
    for _ in 0..3 {
        let cell = Cell::default();
        let flags = libc::CLONE_VM | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
        let number = run_raw(flags, &mut stack, &cell)?;
        let status = wait(number)?;
        check_eq!(status, 0, "status of the process");
        check_eq!(cell.tid.load(Ordering::SeqCst), number as u32, "the number that nobody clears");
        check_cell(&cell, number, chain)?;
    }
    Ok(())
}

/// A thread says anew where its number is cleared.
pub fn clear_child_tid(chain: &mut Chain) -> Result {
    extern "C" fn run(place: *mut c_void) -> *mut c_void {
        let number = plain!(syscall(libc::SYS_set_tid_address, place));
        std::ptr::without_provenance_mut(number as usize)
    }
    for _ in 0..5 {
        let place = AtomicU32::new(77);
        let mut thread = 0;
        posix!(pthread_create(&raw mut thread, std::ptr::null(), run, (&raw const place).cast_mut().cast()))?;
        // The C library waits at the address that it gave itself; nobody clears that one now.
        posix!(pthread_detach(thread))?;
        while place.load(Ordering::SeqCst) == 77 {
            crate::futex::wait_shared(&place, 77)?;
        }
        check_eq!(place.load(Ordering::SeqCst), 0, "what the kernel wrote");
        chain.num(place.load(Ordering::SeqCst));
        chain.num(tid());
    }
    Ok(())
}
