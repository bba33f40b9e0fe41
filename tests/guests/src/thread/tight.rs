//! Threads that compute in tight loops which make no call, and in which nearly no place is one that a jump could be laid to: each
//! instruction is shorter than a jump, one repeats, one is locked, and where the loop goes on is in a register.

use std::arch::asm;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kit::chain::mix;
use crate::kit::order::{by, check_each_ascends};
use crate::kit::thread;
use crate::kit::{Chain, Order, Result};

const BYTES: usize = 256;
const ROUNDS: u64 = 20;
/// Calls of a loop's function in a round, and its turns: together some 10 ms.
const BLOCKS: u64 = 100;
const TURNS: u64 = 25_000;

/// A string instruction that repeats; `dec` tells one turn from the next.
#[inline(never)]
fn repeats(seed: u64) -> u64 {
    let mut bytes = [seed as u8; BYTES];
    let mut left = TURNS / 16;
    // SAFETY: writes as many bytes as the array has, and what it declares.
    unsafe {
        asm!(
            "2:",
            "mov rdi, rsi",
            "mov ecx, edx",
            "inc eax",
            "rep stosb",
            "dec {left}",
            "jnz 2b",
            left = inout(reg) left, inout("rax") seed => _, in("rsi") bytes.as_mut_ptr(), in("rdx") BYTES, out("rcx") _, out("rdi") _,
        );
    }
    mix(seed, u64::from(bytes[0]) + left)
}

/// A locked instruction on a word that nobody else has.
#[inline(never)]
fn locks(seed: u64) -> u64 {
    let mut word = seed;
    // SAFETY: reads and writes the word.
    unsafe {
        asm!("2:", "lock inc qword ptr [{word}]", "dec {left}", "jnz 2b", word = in(reg) &raw mut word, left = inout(reg) TURNS => _);
    }
    mix(seed, word)
}

/// A loop whose next turn begins where a register says.
#[inline(never)]
fn jumps(seed: u64) -> u64 {
    let mut sum = seed;
    // SAFETY: changes registers alone.
    unsafe {
        asm!(
            "lea {next}, [rip + 2f]",
            "2:",
            "add {sum}, {left}",
            "rol {sum}, 7",
            "dec {left}",
            "jz 3f",
            "jmp {next}",
            "3:",
            next = out(reg) _, sum = inout(reg) sum, left = inout(reg) TURNS => _,
        );
    }
    sum
}

/// Each thread has one of the loops. They note when they meet.
pub fn tight(chain: &mut Chain) -> Result {
    let loops = [repeats, locks, jumps];
    let state = Arc::new((Order::new(), AtomicU64::new(0)));
    let digests = thread::all(loops.len(), &state, move |index, (order, all)| {
        let mut digest = index as u64;
        for round in 0..ROUNDS {
            for _ in 0..BLOCKS {
                digest = loops[index](digest);
            }
            order.note(by(index, round));
            // Not commutative: who comes first matters.
            let before = all.load(Ordering::SeqCst);
            all.store(mix(before, digest), Ordering::SeqCst);
        }
        Ok(digest)
    })?;
    digests.into_iter().for_each(|digest| chain.num(digest));
    chain.num(state.1.load(Ordering::SeqCst));
    check_each_ascends(&state.0.take(chain)?, 3, ROUNDS)
}
