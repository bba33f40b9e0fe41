//! What the engine asks for: [`Backend`] by ptrace.

use super::{Ptrace, RESTART_CODES, RETRIES, Stopped, Task, call_of};
use crate::replay::backend::{At, Backend, BackendError, Expect, Forked, Interrupted, Point, Result, Signal};
use crate::sys::ptrace::{self, Fate, Pid, Regs, Resume, Stop};

impl Backend for Ptrace {
    fn at(&self, pid: Pid) -> At {
        self.tasks.get(&pid).map_or(At::Dead, |task| task.at)
    }

    fn run(&mut self, pid: Pid, expect: Expect) -> Result<At> {
        let (how, stop) = match expect {
            Expect::Injected => (Resume::Sysemu, Stopped::Emulated),
            Expect::Executed => {
                self.pass_exit(pid, "leave a call")?;
                (Resume::Syscall, Stopped::Entry)
            }
        };
        let at = match self.resume_past_signals(pid, how)? {
            Stop::Syscall => {
                let regs = ptrace::regs(pid)?;
                let at = At::Call(call_of(&regs));
                let task = self.task_mut(pid)?;
                *task = Task { gadget: task.gadget, stop, ..Task::new(task.tgid, regs, at) };
                return Ok(at);
            }
            Stop::Signal(signal) => At::Fault(signal),
            Stop::Exited(_) | Stop::Killed(_) => {
                self.died(pid);
                return Ok(At::Dead);
            }
            stop => return Err(self.unexpected(pid, stop, "run to its next call")),
        };
        self.reload(pid, at)?;
        Ok(at)
    }

    fn run_to(&mut self, pid: Pid, point: &Point) -> Result<()> {
        self.run_to_point(pid, point)
    }

    fn finish(&mut self, pid: Pid, ret: i64) -> Result<()> {
        let task = self.task_mut(pid)?;
        task.regs.rax = ret.cast_unsigned();
        if task.stop == Stopped::Entry {
            task.regs.orig_rax = u64::MAX;
        }
        task.dirty = true;
        task.at = At::User;
        Ok(())
    }

    fn execute(&mut self, pid: Pid, nr: i32, args: [u64; 6]) -> Result<i64> {
        for _ in 0..RETRIES {
            let before = self.enter(pid, nr, args, "make a call")?;
            let after = self.leave(pid, "return from a call")?;
            let task = self.task_mut(pid)?;
            // arch_prctl sets the segment bases, which are registers too.
            task.regs = Regs { fs_base: after.fs_base, gs_base: after.gs_base, ..before };
            task.dirty = true;
            let ret = after.rax.cast_signed();
            if !RESTART_CODES.contains(&ret) {
                return Ok(ret);
            }
        }
        Err(BackendError::Unexpected { pid, stop: format!("signals during call {nr}"), doing: "make a call" })
    }

    fn begin_wait(&mut self, pid: Pid, args: [u64; 6]) -> Result<i64> {
        self.enter_interrupted(pid, args)
    }

    fn fork(&mut self, pid: Pid) -> Result<Forked> {
        let At::Call(call) = self.at(pid) else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", self.at(pid)), doing: "fork" });
        };
        let (child, vfork) = match self.make_again(pid, &call, "fork")? {
            Stop::Forked { child, vfork } => (child, vfork),
            stop => return Err(self.unexpected(pid, stop, "fork")),
        };
        match self.wait(child)? {
            Stop::Event => {}
            stop => return Err(self.unexpected(child, stop, "start")),
        }
        let regs = ptrace::regs(child)?;
        let numbers =
            ptrace::numbers(child).map_err(|source| BackendError::Io { what: "reading the numbers", pid: child, source })?;
        self.tasks.insert(child, Task::new(numbers.tgid, regs, At::User));
        let tid = numbers.ns_tid.unsigned_abs();
        if vfork {
            self.resume(pid, Resume::Syscall, 0)?;
            self.set_at(pid, At::Vfork)?;
        } else {
            self.leave(pid, "return from fork")?;
            self.reload(pid, At::User)?;
        }
        Ok(Forked { child, tid })
    }

    fn vfork_done(&mut self, pid: Pid) -> Result<()> {
        match self.wait(pid)? {
            Stop::Syscall => self.reload(pid, At::User),
            stop => Err(self.unexpected(pid, stop, "return from vfork")),
        }
    }

    fn exec(&mut self, pid: Pid) -> Result<Pid> {
        let At::Call(call) = self.at(pid) else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", self.at(pid)), doing: "exec" });
        };
        if !self.others(pid).is_empty() {
            return self.exec_alone(pid, &call);
        }
        match self.make_again(pid, &call, "exec")? {
            Stop::Execed => self.executed(pid, pid),
            stop => Err(self.unexpected(pid, stop, "exec")),
        }
    }

    fn sigreturn(&mut self, pid: Pid) -> Result<i64> {
        let At::Call(call) = self.at(pid) else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", self.at(pid)), doing: "return from a signal" });
        };
        self.enter(pid, call.nr, call.args, "return from a signal")?;
        let after = self.leave(pid, "return from a signal")?;
        self.reload(pid, At::User)?;
        Ok(after.rax.cast_signed())
    }

    fn exit(&mut self, pid: Pid) -> Result<()> {
        let task = self.task_mut(pid)?;
        let At::Call(call) = task.at else {
            return Err(BackendError::Unexpected { pid, stop: format!("{:?}", task.at), doing: "exit" });
        };
        task.make_call(&call);
        self.end(pid, i64::from(call.nr) == libc::SYS_exit_group)
    }

    fn kill(&mut self, pid: Pid, signal: i32) -> Result<()> {
        self.kill_with(pid, signal)
    }

    fn deliver(&mut self, pid: Pid, signal: &Signal, interrupted: Option<Interrupted>) -> Result<()> {
        self.deliver_here(pid, signal, interrupted)
    }

    fn read(&self, pid: Pid, addr: u64, buffer: &mut [u8]) -> Result<()> {
        let len = buffer.len();
        ptrace::read_memory(pid, addr, buffer).map_err(|source| BackendError::Memory { pid, addr, len, source })
    }

    fn write(&mut self, pid: Pid, addr: u64, bytes: &[u8]) -> Result<()> {
        if ptrace::write_memory(pid, addr, bytes).is_ok() {
            return Ok(());
        }
        // Below the stack's end the kernel grows it for the task's own calls only: let one write there.
        if matches!(self.at(pid), At::Call(_) | At::User) {
            self.execute(pid, libc::SYS_getrandom as i32, [addr, bytes.len() as u64, 0, 0, 0, 0])?;
        }
        ptrace::write_memory(pid, addr, bytes).map_err(|source| BackendError::Memory { pid, addr, len: bytes.len(), source })
    }

    fn pointers(&self, pid: Pid) -> Result<(u64, u64)> {
        let task = self.task(pid)?;
        Ok((task.regs.rsp, task.regs.rip))
    }

    fn signal_mask(&self, pid: Pid) -> Result<u64> {
        Ok(ptrace::sigmask(pid)?)
    }

    fn set_signal_mask(&mut self, pid: Pid, mask: u64) -> Result<()> {
        Ok(ptrace::set_sigmask(pid, mask)?)
    }

    fn unleash(&mut self, pid: Pid) -> Result<()> {
        let task = self.task_mut(pid)?;
        match task.at {
            // In vfork it cannot be stopped; it goes on when its child does.
            At::Dead | At::Vfork => return Ok(()),
            At::Call(call) => task.make_call(&call),
            At::Fault(_) | At::User => {}
        }
        if std::mem::take(&mut task.dirty) {
            ptrace::set_regs(pid, &task.regs)?;
        }
        Ok(ptrace::set_fate(pid, Fate::RunOn)?)
    }

    fn release(&mut self, pid: Pid) -> Result<()> {
        match self.at(pid) {
            At::Dead => return Ok(()),
            // Its child is let go too, so this ends.
            At::Vfork => self.vfork_done(pid)?,
            _ => {}
        }
        self.unleash(pid)?;
        let signal = if let At::Fault(own) = self.at(pid) { own } else { 0 };
        ptrace::detach(pid, signal)?;
        self.tasks.remove(&pid);
        Ok(())
    }
}
