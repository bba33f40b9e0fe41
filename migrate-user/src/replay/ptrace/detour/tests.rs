//! To places that are found by a jump in the task's own code alone: the searches have no budget for stops.

use crate::replay::backend::{At, Backend as _, BackendError, Point};
use crate::replay::ptrace::point::Budget;
use crate::replay::ptrace::twins::{STORE, Twins};
use crate::sys::mappings;
use crate::sys::ptrace::{self, Pid};
use std::ffi::c_void;
use std::sync::OnceLock;
use std::time::Duration;

/// Stops that the breakpoint has before the detour, and some to learn from.
const FEW: Budget = Budget { hits: 80, time: Duration::from_secs(60) };
const BELOW_STACK: u64 = 128;
/// The page of code; behind it lies one of data.
const CODE_BYTES: usize = 4096;

// Code that is copied to where no other is near. rdi: an array of 512 words.
std::arch::global_asm!(
    ".pushsection .text.detour_tests, \"ax\"",
    ".globl detour_mixed, detour_tight, detour_counter, detour_entered, detour_fault, detour_end",
    // A digest of flags and of the red zone, with short instructions, an operand relative to rip, and a branch in each direction.
    "detour_mixed:",
    "mov rcx, 100000",
    "mov rax, rdi",
    "2: add rax, rcx",
    "mov [rsp-8], rax",
    "adc r8, 0",
    "seto dl",
    "mov rsi, rax",
    "lahf",
    "movzx r9d, dl",
    "movzx edx, ah",
    "add r10, rdx",
    "add r10, r9",
    "mov rax, rsi",
    "add [rsp-128], r10",
    "add r11, [rip + 9f]",
    "xor [rip + 9f], r10",
    "imul rax, rax, 0x5851f42d",
    "js 3f",
    "xor r10, [rsp-128]",
    "3: dec rcx",
    "jnz 2b",
    "mov [rdi], rax",
    "mov [rdi+8], r10",
    "mov [rdi+16], r8",
    "mov [rdi+24], r11",
    "ret",
    ".skip 256, 0x90",
    // One instruction and a branch back to it, with a register that is big and one that counts.
    "detour_tight:",
    "mov rcx, 0x7fffffff",
    "2: dec rcx",
    "jnz 2b",
    "mov [rdi], rcx",
    "ret",
    ".skip 8, 0x90",
    // Registers are the same in each turn.
    "detour_counter:",
    "mov qword ptr [rsp-24], 0",
    "2: add qword ptr [rsp-24], 4",
    "cmp qword ptr [rsp-24], 0x1000000",
    "jne 2b",
    "nop word ptr [rax+rax+0]",
    "ret",
    // A branch between instructions that a jump would cover.
    "detour_entered:",
    "mov rcx, 10000",
    "2: inc rax",
    "3: inc rdx",
    "dec rcx",
    "jz 4f",
    "test cl, 1",
    "jz 3b",
    "jmp 2b",
    "4: ret",
    // Ends in a fault.
    "detour_fault:",
    "mov rcx, rdi",
    "2: add rcx, 64",
    "mov rax, [rcx]",
    "jmp 2b",
    // The word changes: as code it could look like any branch.
    ".skip 4096 - (. - detour_mixed), 0x90",
    "9: .quad 0x1234567",
    "detour_end:",
    ".popsection",
);

unsafe extern "C" {
    static detour_mixed: u8;
    static detour_tight: u8;
    static detour_counter: u8;
    static detour_entered: u8;
    static detour_fault: u8;
    static detour_end: u8;
}

/// Address of a piece of the code in a mapping of its own.
fn copied(piece: *const u8) -> u64 {
    static COPY: OnceLock<usize> = OnceLock::new();
    let from = &raw const detour_mixed;
    let copy = *COPY.get_or_init(|| {
        let rights = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, filled with what lies between two labels of one section: a page of code, and less than one of data.
        unsafe {
            let page = libc::mmap(std::ptr::null_mut(), 2 * CODE_BYTES, rights, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            let len = (&raw const detour_end).offset_from_unsigned(from);
            std::ptr::copy_nonoverlapping(from, page.cast::<u8>(), len);
            assert_eq!(libc::mprotect(page.byte_add(CODE_BYTES), CODE_BYTES, libc::PROT_READ | libc::PROT_WRITE), 0);
            page as usize
        }
    });
    // SAFETY: both are labels of one section.
    (copy + unsafe { piece.offset_from_unsigned(from) }) as u64
}

fn run(piece: *const u8) {
    let words = STORE.as_ptr().cast_mut().cast::<c_void>();
    // SAFETY: the code keeps to the calling convention and changes what that lets it; `STORE` has 1024 words.
    unsafe {
        let code: extern "C" fn(*mut c_void) = std::mem::transmute(copied(piece));
        code(words);
    }
}

fn mixed() {
    run(&raw const detour_mixed);
}

fn tight() {
    run(&raw const detour_tight);
}

fn counter() {
    run(&raw const detour_counter);
}

fn entered() {
    run(&raw const detour_entered);
}

fn fault() {
    run(&raw const detour_fault);
}

/// Twins of which the source stands at the first instruction of `piece`.
fn twins(act: fn(), piece: *const u8) -> Twins {
    let start = copied(piece);
    let mut twins = Twins::before(act);
    while twins.place_of_the_source().regs.rip != start {
        twins.step(1);
    }
    twins
}

/// The source's place, with its red zone.
fn place(twins: &Twins) -> Point {
    let mut point = twins.place_of_the_source();
    let at = point.regs.rsp - BELOW_STACK;
    let mut below = vec![0; BELOW_STACK as usize];
    twins.backend.read(twins.source, at, &mut below).unwrap();
    point.memory.insert(0, (at, below));
    point
}

fn code_and_maps(pid: Pid) -> (Vec<u8>, String) {
    let mut code = vec![0; CODE_BYTES];
    ptrace::read_memory(pid, copied(&raw const detour_mixed), &mut code).unwrap();
    (code, mappings::text(pid).unwrap())
}

fn search(twins: &mut Twins, place: &Point, budget: Budget) -> Result<(), BackendError> {
    let before = code_and_maps(twins.replica);
    let result = twins.backend.search(twins.replica, place, budget);
    assert!(code_and_maps(twins.replica) == before, "code or mappings are others");
    result
}

#[test]
fn flags_red_zone_and_what_lies_relative_to_the_instruction_are_as_without_a_detour() {
    // Each instruction of the loop, far behind what the breakpoint tries.
    for steps in (1800..1820).chain([4000]) {
        let when = format!("after {steps} steps");
        let mut twins = twins(mixed, &raw const detour_mixed);
        twins.step(steps);
        let place = place(&twins);
        search(&mut twins, &place, FEW).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(place.differing(&twins.backend.registers(twins.replica).unwrap()), None, "{when}");
        twins.finish();
        twins.assert_equal(&when);
    }
}

#[test]
fn a_turn_far_away_is_found_at_the_speed_of_the_loop() {
    const TURNS: u64 = 100 << 20;
    let mut twins = twins(tight, &raw const detour_tight);
    twins.step(101);
    // The same turn of another round of its flags.
    let mut place = twins.place_of_the_source();
    place.regs.rcx -= TURNS;
    search(&mut twins, &place, FEW).unwrap();
    assert_eq!(twins.backend.registers(twins.replica).unwrap().rcx, 0x7fff_ffff - 50 - TURNS);
}

#[test]
fn turns_that_only_memory_tells_apart_are_told() {
    for steps in [3001, 3002, 3003] {
        let mut twins = twins(counter, &raw const detour_counter);
        twins.step(steps);
        let place = place(&twins);
        search(&mut twins, &place, FEW).unwrap();
        let mut found = [0; 8];
        twins.backend.read(twins.replica, place.regs.rsp - 24, &mut found).unwrap();
        assert_eq!(found, place.memory[0].1[104..112]);
    }
}

#[test]
fn a_place_whose_memory_is_the_code_under_the_jump_is_found() {
    let mut twins = twins(counter, &raw const detour_counter);
    twins.step(3001);
    let mut place = place(&twins);
    let from = (place.regs.rip & !7) - 8;
    let mut code = vec![0; 32];
    twins.backend.read(twins.source, from, &mut code).unwrap();
    place.memory.push((from, code));
    search(&mut twins, &place, FEW).unwrap();
}

#[test]
fn where_a_branch_leads_between_the_instructions_the_breakpoint_stays() {
    let search = |budget| {
        let mut twins = twins(entered, &raw const detour_entered);
        twins.step(1200);
        while twins.place_of_the_source().regs.rip != copied(&raw const detour_entered) + 7 {
            twins.step(1);
        }
        let place = place(&twins);
        search(&mut twins, &place, budget)
    };
    let error = search(FEW).unwrap_err();
    assert!(error.to_string().contains("a branch leads between"), "{error}");
    search(Budget::default()).unwrap();
}

#[test]
fn a_search_in_vain_ends_in_time_and_leaves_nothing() {
    let mut twins = twins(tight, &raw const detour_tight);
    twins.step(51);
    let mut place = place(&twins);
    place.regs.r15 ^= 1;
    let error = search(&mut twins, &place, Budget { time: Duration::from_millis(100), ..FEW }).unwrap_err();
    let BackendError::NoSuchPoint { hits, ref instead, .. } = error else { panic!("{error}") };
    let loops = [7, 10].map(|offset| format!("it runs at {:#x}", copied(&raw const detour_tight) + offset));
    assert!(hits < FEW.hits && loops.iter().any(|place| instead.starts_with(place)), "{error}");
}

#[test]
fn a_fault_is_told_where_the_program_has_it() {
    let mut twins = twins(fault, &raw const detour_fault);
    twins.step(2);
    let mut place = place(&twins);
    place.regs.r15 ^= 1;
    let error = search(&mut twins, &place, FEW).unwrap_err();
    let faulting = copied(&raw const detour_fault) + 7;
    assert!(error.to_string().contains(&format!("it stands at Fault(11) at {faulting:#x}")), "{error}");
    assert_eq!(twins.backend.at(twins.replica), At::Fault(libc::SIGSEGV));
}
