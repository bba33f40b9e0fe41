//! To places that a breakpoint finds.

use super::*;
use crate::replay::backend::Backend as _;
use crate::replay::ptrace::twins::{STORE, TURNS, Twins};
use std::hint::black_box;
use std::sync::atomic::Ordering;

#[inline(never)]
fn count() {
    let mut sum = 0_u64;
    for turn in 0..3000_u64 {
        sum = black_box(sum.wrapping_mul(0x9e37_79b9).wrapping_add(turn));
        TURNS.store(sum, Ordering::Relaxed);
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    TURNS.fetch_add(1, Ordering::Relaxed);
    if black_box(depth) < 2 { depth } else { recurse(depth - 1) + recurse(depth - 2) }
}

fn copy(backwards: bool) {
    let bytes = STORE.as_ptr().cast::<u8>().cast_mut();
    // SAFETY: the 4096 bytes lie in `STORE`, read from its first half and written to its second, in either direction; the flag is
    // as before afterwards.
    unsafe {
        if backwards {
            std::arch::asm!("std", "rep movsw", "cld",
                inout("rcx") 2048_u64 => _, inout("rsi") bytes.add(4094) => _, inout("rdi") bytes.add(8190) => _);
        } else {
            std::arch::asm!("rep movsb",
                inout("rcx") 4096_u64 => _, inout("rsi") bytes => _, inout("rdi") bytes.add(4096) => _);
        }
    }
}

/// Stops one task after each of these numbers of instructions, and finds the place in another.
fn found_again(act: fn(), steps: impl IntoIterator<Item = u32>) {
    for steps in steps {
        let when = format!("after {steps} instructions");
        let mut twins = Twins::before(act);
        twins.step(steps);
        let place = twins.place_of_the_source();
        twins.backend.run_to(twins.replica, &place).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(place.differing(&twins.backend.task(twins.replica).unwrap().regs), None, "{when}");
        twins.assert_equal(&when);
        // From there on it goes as far as the other one.
        twins.finish();
        twins.assert_equal("at the end");
    }
}

#[test]
fn a_place_in_a_loop_is_found_in_the_same_turn() {
    found_again(count, [0, 1, 40, 333, 2_718, 9_001]);
}

#[test]
fn a_place_in_a_recursion_is_found_at_the_same_depth() {
    found_again(|| _ = black_box(recurse(black_box(8))), [50, 51, 201, 333]);
}

#[test]
fn a_place_inside_an_instruction_that_repeats_is_found() {
    found_again(|| copy(false), [100, 1000, 3001]);
    found_again(|| copy(true), [100, 1000, 2002]);
}

#[test]
fn a_task_that_stands_there_already_does_not_move() {
    let mut twins = Twins::before(count);
    let place = twins.place_of_the_source();
    twins.backend.run_to(twins.replica, &place).unwrap();
    assert!(!twins.backend.task(twins.replica).unwrap().dirty);
    twins.assert_equal("not moved");
}

#[test]
fn a_place_that_never_comes_is_an_error_that_says_what_came_instead() {
    let mut twins = Twins::before(count);
    twins.step(500);
    let mut place = twins.place_of_the_source();
    place.regs.r15 ^= 1;
    let error = twins.backend.run_to(twins.replica, &place).unwrap_err();
    let BackendError::NoSuchPoint { hits, ref instead, .. } = error else { panic!("{error}") };
    assert!(hits >= DETOUR_AFTER, "{hits}");
    assert!(instead.starts_with("it stands at Call"), "{instead}");
}

#[test]
fn a_search_ends_after_so_many_hits() {
    let mut twins = Twins::before(count);
    twins.step(500);
    let mut place = twins.place_of_the_source();
    place.memory[0].1[0] ^= 1;
    let error = twins.backend.search(twins.replica, &place, Budget { hits: 10, ..Budget::default() }).unwrap_err();
    assert!(matches!(error, BackendError::NoSuchPoint { hits: 10, .. }), "{error}");
}

#[test]
fn a_search_ends_in_time_in_a_task_that_never_comes_anywhere() {
    let mut twins = Twins::before(|| {
        loop {
            TURNS.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut place = twins.place_of_the_source();
    place.regs.r15 ^= 1;
    let error = twins.backend.search(twins.replica, &place, Budget { time: Duration::from_millis(20), ..Budget::default() });
    let Err(BackendError::NoSuchPoint { hits: 0, instead, .. }) = error else { panic!("{error:?}") };
    assert!(instead.starts_with("it runs at"), "{instead}");
}
