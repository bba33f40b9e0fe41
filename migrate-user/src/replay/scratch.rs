//! Memory for the arguments of calls that a task makes for us.

use super::backend::Backend;
use super::engine::Engine;
use super::error::Result;
use crate::sys::ptrace::Pid;

/// Below the stack pointer and its red zone: memory that a task does not use while it stands still.
const BELOW_STACK: u64 = 16 * 1024;
const ALIGNMENT: u64 = 64;

impl<B: Backend> Engine<B> {
    /// The address at which [`Engine::lend`] puts its bytes.
    pub(super) fn scratch(&self, pid: Pid) -> Result<u64> {
        let (sp, _) = self.backend.pointers(pid)?;
        Ok((sp - BELOW_STACK) & !(ALIGNMENT - 1))
    }

    /// Executes a call while `bytes` lie at [`Engine::scratch`], for which `args` have a pointer.
    pub(super) fn execute_with(&mut self, pid: Pid, nr: i64, args: [u64; 6], bytes: &[u8]) -> Result<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "libc's numbers are small")]
        self.lend(pid, bytes, |engine, _| Ok(engine.backend.execute(pid, nr as i32, args)?))
    }

    /// Does something while `bytes` lie in the task's memory, at the address that it is told. What was there comes back afterwards:
    /// the replica's memory is to be the source's.
    pub(super) fn lend<T>(&mut self, pid: Pid, bytes: &[u8], act: impl FnOnce(&mut Self, u64) -> Result<T>) -> Result<T> {
        let scratch = self.scratch(pid)?;
        let mut before = vec![0; bytes.len()];
        // Where the stack does not reach that far down, there is nothing to keep.
        let kept = self.backend.read(pid, scratch, &mut before).is_ok();
        self.backend.write(pid, scratch, bytes)?;
        let result = act(self, scratch)?;
        if kept {
            self.backend.write(pid, scratch, &before)?;
        }
        Ok(result)
    }
}
