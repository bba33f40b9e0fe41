//! Signals: delivered where the source's task got them.

use super::Site;
use crate::record::Record;
use crate::replay::backend::{At, Backend, BackendError, Expect, Interrupted, Point, Signal, Trap};
use crate::replay::engine::{Engine, Step};
use crate::replay::error::Result;
use crate::sys::ptrace::SIGINFO_BYTES;
use crate::sys::signals::raised_by_itself;

/// What a signal does that has no handler, see signal(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Default {
    Ignore,
    Stop,
    End,
}

fn default_action(signal: i32) -> Default {
    match signal {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT => Default::Ignore,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Default::Stop,
        _ => Default::End,
    }
}

/// The kernel's, as a record has it.
fn siginfo(record: &Record) -> [u8; SIGINFO_BYTES] {
    let mut info = [0; SIGINFO_BYTES];
    if let Some(segment) = record.segments().next() {
        let len = segment.bytes.len().min(SIGINFO_BYTES);
        info[..len].copy_from_slice(&segment.bytes[..len]);
    }
    info
}

/// The task's last trap, as a record has it.
fn last_trap(record: &Record) -> Trap {
    let [.., trap, address] = record.head.args;
    Trap { number: trap >> 32, error: trap & 0xffff_ffff, address }
}

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

impl<B: Backend> Engine<B> {
    pub(in crate::replay) fn signal(&mut self, record: &Record) -> Result<Step> {
        let head = &record.head;
        let signal = head.nr;
        let [handler, _, _, ip, ..] = head.args;
        let pid = self.pid(record)?;
        let info = siginfo(record);
        self.note_timer(record, &info)?;
        match (handler, default_action(signal)) {
            (SIG_IGN, _) | (SIG_DFL, Default::Ignore) => return Ok(Step::Done),
            (SIG_DFL, Default::Stop) => {
                self.task(record)?.stopped = true;
                return Ok(Step::Done);
            }
            // Its process ends, or enters another image, by another of its tasks.
            (SIG_DFL, Default::End) if signal == libc::SIGKILL && self.ends_by_another(record) => {
                self.task(record)?.doomed = true;
                return Ok(Step::Done);
            }
            (SIG_DFL, Default::End) if self.witness.is_some() => {
                if raised_by_itself(signal, &info) && self.backend.at(pid) == At::User {
                    self.backend.run(pid, Expect::Injected)?;
                }
                self.task(record)?.dying = Some(signal);
                return Ok(Step::Done);
            }
            (SIG_DFL, Default::End) => {
                self.backend.kill(pid, signal)?;
                return Ok(Step::Done);
            }
            _ => {}
        }
        let own = raised_by_itself(signal, &info);
        if own && self.backend.at(pid) == At::User {
            self.backend.run(pid, Expect::Injected)?;
        }
        if own && self.backend.at(pid) != At::Fault(signal) {
            let found = format!("{:?}", self.backend.at(pid));
            return Err(self.desync(record, &format!("the task raises signal {signal} itself"), &found));
        }
        if let Some(point) = Point::from_record(record)
            && self.backend.at(pid) == At::User
            && !(ip == handler && self.backend.pointers(pid)? == (point.regs.rsp, ip))
        {
            // At the first instruction of the same handler it stands already, whatever the kernel left of the FPU's state above.
            match self.backend.run_to(pid, &point) {
                Err(error @ BackendError::NoSuchPoint { .. }) => {
                    return Err(self.desync(record, &format!("signal {signal} at {ip:#x}"), &error.to_string()));
                }
                other => other?,
            }
        }
        let (_, own_ip) = self.backend.pointers(pid)?;
        if own_ip != ip {
            return Err(self.desync(record, &format!("signal {signal} at {ip:#x}"), &format!("the task stands at {own_ip:#x}")));
        }
        let pending = self.task(record)?.pending.take();
        let interrupted = pending.map(|pending| Interrupted { ret: pending.ret, mask: pending.mask });
        self.backend.deliver(pid, &Signal { number: signal, info, trap: last_trap(record) }, interrupted)?;
        Ok(Step::Done)
    }

    pub(super) fn sigreturn(&mut self, site: &Site<'_>) -> Result<Step> {
        let ret = self.backend.sigreturn(site.pid)?;
        self.expect_ret(site, ret)?;
        Ok(Step::Done)
    }

    /// Where a call has the signal set that it waits with; `None` if it waits with the task's own.
    pub(super) fn wait_mask(&self, site: &Site<'_>) -> Result<Option<u64>> {
        let args = site.call.args;
        let addr = match i64::from(site.call.nr) {
            libc::SYS_rt_sigsuspend => args[0],
            libc::SYS_ppoll => args[3],
            libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => args[4],
            libc::SYS_pselect6 if args[5] != 0 => {
                let mut pointer = [0; 8];
                self.backend.read(site.pid, args[5], &mut pointer)?;
                u64::from_le_bytes(pointer)
            }
            _ => 0,
        };
        Ok((addr != 0).then_some(addr))
    }
}
