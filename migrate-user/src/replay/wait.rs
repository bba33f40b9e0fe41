//! Waits with a relative timeout that the freeze interrupted: they go on with the time that they had left.
//!
//! The source's kernel keeps the end of such a wait for `restart_syscall`, where the probes read it. The replica's task makes the
//! same call with the rest of the time and is interrupted at once, so that its kernel keeps that end likewise. When it is let go it
//! stands at `restart_syscall`, with the registers that the source's task has.

use super::backend::{At, Backend};
use super::calls::FUTEX_OPERATION;
use super::calls::timer::SOON_NS;
use super::engine::Engine;
use super::error::Result;
use super::live::timespec;
use super::ptrace::ERESTART_RESTARTBLOCK;
use crate::sys::ptrace::Pid;
use serde::{Deserialize, Serialize};

const TIMER_ABSTIME: u64 = 1;
const TIMESPEC_BYTES: usize = 16;
const POLLFD_BYTES: usize = 8;
/// As many descriptors as a process can have at the most: /proc/sys/fs/nr_open.
const MAX_POLLED: u64 = 1 << 20;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// A wait of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Task in the container's pid namespace.
    pub tid: u32,
    /// The call.
    pub nr: i32,
    /// Its end: CLOCK_MONOTONIC of the source's host.
    pub until_ns: u64,
}

impl<B: Backend> Engine<B> {
    /// Lets a wait go on with the time that it had left at `now_ns`, on the source's clock. Without effect if the task has ended it
    /// since it was noted. A wait that cannot be begun (what a `poll` waits for is there) is left to begin anew.
    pub(super) fn shorten(&mut self, wait: &Wait, now_ns: u64) -> Result<()> {
        let Some(task) = self.tasks.get(&wait.tid) else { return Ok(()) };
        let (pid, interrupted) = (task.pid, task.pending.is_some_and(|pending| pending.ret == ERESTART_RESTARTBLOCK));
        let At::Call(call) = self.backend.at(pid) else { return Ok(()) };
        if !interrupted || call.nr != wait.nr {
            return Ok(());
        }
        let left_ns = wait.until_ns.saturating_sub(now_ns).max(SOON_NS);
        let [a, b, c, d, e, f] = call.args;
        let result = match i64::from(call.nr) {
            libc::SYS_poll => {
                let entries = usize::try_from(b.min(MAX_POLLED)).unwrap_or(0) * POLLFD_BYTES;
                self.keeping(pid, a, entries, |engine| {
                    Ok(engine.backend.begin_wait(pid, [a, b, left_ns.div_ceil(NANOS_PER_MILLI), d, e, f])?)
                })?
            }
            libc::SYS_nanosleep => self.begin_for(pid, left_ns, b, |left| [left, b, c, d, e, f])?,
            libc::SYS_clock_nanosleep if b & TIMER_ABSTIME == 0 && is_monotonic(a) => {
                self.begin_for(pid, left_ns, d, |left| [a, b, left, d, e, f])?
            }
            libc::SYS_futex if b & FUTEX_OPERATION == libc::FUTEX_WAIT as u64 => {
                self.begin_for(pid, left_ns, 0, |left| [a, b, c, left, e, f])?
            }
            _ => return Ok(()),
        };
        if result == 0 && i64::from(call.nr) != libc::SYS_futex {
            // It is over already.
            self.backend.finish(pid, 0)?;
        }
        Ok(())
    }

    /// Whether a wait that the freeze interrupted came to its end in [`Self::shorten`]: the task stands behind the call that its source is in.
    pub(crate) fn has_ended_its_wait(&self, tid: u32) -> bool {
        self.tasks.get(&tid).is_some_and(|task| {
            let interrupted = task.pending.is_some_and(|pending| pending.ret == ERESTART_RESTARTBLOCK);
            interrupted && self.backend.at(task.pid) == At::User
        })
    }

    /// Begins a wait whose arguments, made by `args`, point to a time. At `left_at`, if that is not 0, the kernel writes the time that
    /// is left when it is interrupted.
    fn begin_for(&mut self, pid: Pid, left_ns: u64, left_at: u64, args: impl FnOnce(u64) -> [u64; 6]) -> Result<i64> {
        self.keeping(pid, left_at, TIMESPEC_BYTES, |engine| {
            engine.lend(pid, &timespec(left_ns), |engine, at| Ok(engine.backend.begin_wait(pid, args(at))?))
        })
    }

    /// Begins a wait by `begin`. What the replica's kernel writes at `addr`, if that is not 0, is not the program's to see: the time
    /// left, or the events of a poll that are there already. It keeps what the source's kernel wrote when the freeze interrupted it.
    fn keeping(&mut self, pid: Pid, addr: u64, len: usize, begin: impl FnOnce(&mut Self) -> Result<i64>) -> Result<i64> {
        let mut bytes = vec![0; len];
        let kept = addr != 0 && len != 0 && self.backend.read(pid, addr, &mut bytes).is_ok();
        let result = begin(self)?;
        if kept {
            self.backend.write(pid, addr, &bytes)?;
        }
        Ok(result)
    }
}

/// A sleep for some time on CLOCK_REALTIME is one on CLOCK_MONOTONIC, see clock_nanosleep(2).
fn is_monotonic(clock: u64) -> bool {
    [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC].iter().any(|known| u64::try_from(*known) == Ok(clock))
}
