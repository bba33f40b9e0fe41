//! Registers as a whole: for the comparison with the source, and to take the source's.

use super::Ptrace;
use crate::replay::backend::Result;
use crate::sys::ptrace::{Pid, Regs};

impl Ptrace {
    /// The registers with which a task will go on.
    pub fn registers(&self, pid: Pid) -> Result<Regs> {
        Ok(self.task(pid)?.regs)
    }

    /// A task in user code goes on with these instead: nothing of the call behind which it stood is left.
    pub fn take_registers(&mut self, pid: Pid, regs: Regs) -> Result<()> {
        self.pass_exit(pid, "take other registers")?;
        let task = self.task_mut(pid)?;
        task.regs = Regs { orig_rax: u64::MAX, ..regs };
        task.dirty = true;
        Ok(())
    }
}
