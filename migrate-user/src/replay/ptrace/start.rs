//! From a container that its runtime has set up to the first instruction of its image.

use super::{Ptrace, Task};
use crate::replay::backend::{At, BackendError, Result};
use crate::sys::ptrace::{self, Fate, Pid, Resume, Stop, Wait, Waited};

impl Ptrace {
    /// Takes over a container's first task, which its runtime has set up and which has not yet entered its image.
    pub fn seize(&mut self, pid: Pid) -> Result<()> {
        ptrace::seize(pid, Fate::Die)?;
        Ok(())
    }

    /// Waits until that task stands at the first instruction of its image.
    pub fn wait_first_image(&mut self, pid: Pid) -> Result<()> {
        loop {
            let stop = self.wait(pid)?;
            if self.before_first_image(pid, stop)? {
                return Ok(());
            }
        }
    }

    /// Takes the runtime's program on as far as it has stopped: true once it stands at the first instruction of the image.
    pub fn poll_first_image(&mut self, pid: Pid) -> Result<bool> {
        let fail = |source| BackendError::Io { what: "waiting", pid, source };
        loop {
            match ptrace::wait(Wait::For(pid), true).map_err(fail)? {
                Waited::Stopped(_, stop) if self.before_first_image(pid, stop)? => return Ok(true),
                Waited::Stopped(..) | Waited::Interrupted => {}
                Waited::NotYet => return Ok(false),
                Waited::Nobody => return Err(BackendError::Gone { pid }),
            }
        }
    }

    /// True if the stop is that of the first image; otherwise the task goes on.
    fn before_first_image(&mut self, pid: Pid, stop: Stop) -> Result<bool> {
        match stop {
            Stop::Execed => {
                let regs = self.leave_exec(pid)?;
                self.tasks.insert(pid, Task::new(pid, regs, At::User));
                return Ok(true);
            }
            Stop::Signal(signal) => ptrace::resume(pid, Resume::Cont, signal)?,
            Stop::Group(_) => ptrace::resume(pid, Resume::Listen, 0)?,
            Stop::Exited(_) | Stop::Killed(_) => return Err(BackendError::Gone { pid }),
            // The runtime's own helpers are not part of the replica: let them run.
            Stop::Forked { child, .. } => {
                if let Stop::Event = self.wait(child)? {
                    ptrace::detach(child, 0)?;
                }
                ptrace::resume(pid, Resume::Cont, 0)?;
            }
            Stop::Syscall | Stop::Exiting | Stop::Event => ptrace::resume(pid, Resume::Cont, 0)?,
        }
        Ok(false)
    }
}
