//! Two equal tasks: one is stopped somewhere, the other is taken to the same place.

use super::*;
use crate::replay::backend::{Backend as _, Expect};
use crate::sys::ptrace::{Fate, Wait, Waited};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the tasks write to: of the place where one stands, this is the witness that no register shows.
static TURNS: AtomicU64 = AtomicU64::new(0);
static STORE: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// Of the stack, enough that two calls of the same function with the same arguments can be told by their callers.
const STACK_BYTES: usize = 1024;

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

/// Two tasks, equal in every byte and register, that stand before `act`, behind which they make a call.
struct Twins {
    backend: Ptrace,
    source: Pid,
    replica: Pid,
}

impl Twins {
    fn before(act: fn()) -> Self {
        // SAFETY: the child makes system calls and runs `act`, which neither allocates nor locks.
        let source = unsafe { libc::fork() };
        if source == 0 {
            // SAFETY: a call, at which its tracer stops it.
            unsafe { libc::syscall(libc::SYS_pause) };
            // SAFETY: makes its twin.
            unsafe { libc::syscall(libc::SYS_fork) };
            act();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        assert!(source > 0);
        ptrace::seize(source, Fate::Die).unwrap();
        ptrace::interrupt(source).unwrap();
        assert!(matches!(ptrace::wait(Wait::For(source), false).unwrap(), Waited::Stopped(_, Stop::Event)));
        let mut backend = Ptrace::new();
        backend.tasks.insert(source, Task::new(source, ptrace::regs(source).unwrap(), At::User));
        // The C library makes calls of its own in a new child.
        loop {
            let At::Call(call) = backend.run(source, Expect::Injected).unwrap() else { panic!("it makes calls") };
            if i64::from(call.nr) == libc::SYS_fork {
                break;
            }
            let paused = i64::from(call.nr) == libc::SYS_pause;
            let ret = if paused { -i64::from(libc::EINTR) } else { backend.execute(source, call.nr, call.args).unwrap() };
            backend.finish(source, ret).unwrap();
        }
        let replica = backend.fork(source).unwrap().child;
        let task = backend.task_mut(source).unwrap();
        task.regs.rax = 0;
        task.dirty = true;
        Self { backend, source, replica }
    }

    /// Takes the source some instructions further, one at a time.
    fn step(&mut self, steps: u32) {
        if steps == 0 {
            return;
        }
        for _ in 0..steps {
            self.backend.resume(self.source, Resume::Step, 0).unwrap();
            assert_eq!(self.backend.wait(self.source).unwrap(), Stop::Signal(libc::SIGTRAP));
            // Not the registers of before.
            self.backend.task_mut(self.source).unwrap().dirty = false;
        }
        self.backend.reload(self.source, At::User).unwrap();
    }

    fn place_of_the_source(&self) -> Point {
        let regs = self.backend.task(self.source).unwrap().regs;
        let mut stack = vec![0; STACK_BYTES];
        self.backend.read(self.source, regs.rsp, &mut stack).unwrap();
        Point { regs, memory: vec![(regs.rsp, stack)] }
    }

    fn witness(&self, pid: Pid) -> Vec<u8> {
        let mut bytes = vec![0; size_of_val(&STORE) + 8];
        self.backend.read(pid, TURNS.as_ptr() as u64, &mut bytes[..8]).unwrap();
        self.backend.read(pid, STORE.as_ptr() as u64, &mut bytes[8..]).unwrap();
        bytes
    }

    fn assert_equal(&self, when: &str) {
        assert!(self.witness(self.replica) == self.witness(self.source), "{when} they have written other things");
    }

    /// Both to their next call.
    fn finish(&mut self) {
        for pid in [self.source, self.replica] {
            assert!(matches!(self.backend.run(pid, Expect::Injected).unwrap(), At::Call(_)));
        }
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        for pid in [self.replica, self.source] {
            drop(self.backend.kill(pid, libc::SIGKILL));
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
    assert!(hits > 2000, "{hits}");
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

#[test]
fn instructions_that_repeat_are_told_by_their_prefixes() {
    let rep = |len, source, destination| Some(Rep { len, source, destination });
    assert_eq!(Rep::decode(&[0xf3, 0xa4, 0xc3]), rep(2, 1, 1));
    assert_eq!(Rep::decode(&[0xf3, 0x48, 0xa5, 0xc3]), rep(3, 8, 8));
    assert_eq!(Rep::decode(&[0xf3, 0x48, 0xab]), rep(3, 0, 8));
    assert_eq!(Rep::decode(&[0x66, 0xf3, 0xab]), rep(3, 0, 2));
    assert_eq!(Rep::decode(&[0xf2, 0xae]), rep(2, 0, 1));
    assert_eq!(Rep::decode(&[0xf3, 0x44, 0xad]), rep(3, 4, 0));
    // Not one: without the prefix, pause, a scalar instruction, an end.
    for other in [&[0xa4, 0xc3][..], &[0xf3, 0x90], &[0xf3, 0x0f, 0x10, 0x00], &[0xf3]] {
        assert_eq!(Rep::decode(other), None);
    }
}
