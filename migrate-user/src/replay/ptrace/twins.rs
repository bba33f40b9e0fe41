//! Two equal tasks, for tests: one is stopped somewhere, the other is taken to the same place.

use super::{Ptrace, Task};
use crate::replay::backend::{At, Backend as _, Expect, Point};
use crate::sys::ptrace::{self, Fate, Pid, Resume, Stop, Wait, Waited};
use std::sync::atomic::AtomicU64;

/// What the tasks write to: of the place where one stands, this is the witness that no register shows.
pub(super) static TURNS: AtomicU64 = AtomicU64::new(0);
pub(super) static STORE: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// Of the stack, enough that two calls of the same function with the same arguments can be told by their callers.
const STACK_BYTES: usize = 1024;

/// Two tasks, equal in every byte and register, that stand before `act`, behind which they make a call.
pub(in crate::replay) struct Twins {
    pub(in crate::replay) backend: Ptrace,
    pub(super) source: Pid,
    pub(in crate::replay) replica: Pid,
}

impl Twins {
    pub(in crate::replay) fn before(act: fn()) -> Self {
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
    pub(super) fn step(&mut self, steps: u32) {
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

    pub(super) fn place_of_the_source(&self) -> Point {
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

    pub(super) fn assert_equal(&self, when: &str) {
        assert!(self.witness(self.replica) == self.witness(self.source), "{when} they have written other things");
    }

    /// Both to their next call.
    pub(super) fn finish(&mut self) {
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
