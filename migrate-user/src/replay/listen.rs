//! Installs a seccomp filter in a replica that is about to go live.

use super::backend::{At, Backend};
use super::engine::Engine;
use super::error::{ReplayError, Result};
use crate::sys::pidfd::PidFd;
use crate::sys::ptrace::{self, Pid};
use crate::sys::seccomp::{self, Instruction};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

const EACCES: i64 = -(libc::EACCES as i64);
const EINVAL: i64 = -(libc::EINVAL as i64);
/// Bytes of `struct sock_fprog`, behind which the program lies.
const FPROG_BYTES: u64 = 16;

/// What [`Engine::listen`] did.
#[derive(Debug)]
pub struct Listeners {
    /// One for each process.
    pub descriptors: Vec<OwnedFd>,
    /// At least one process had not the capability for it and has given up gaining rights by exec instead.
    pub no_new_privs: bool,
}

impl<B: Backend> Engine<B> {
    /// Makes every process install `program` for all its threads, with a listener, which is taken from it.
    ///
    /// The filter is not in force before the replica is unleashed, and stays until its tasks end; so a replica for which this fails is
    /// of no use.
    pub fn listen(&mut self, program: &[Instruction]) -> Result<Listeners> {
        let mut listeners = Listeners { descriptors: Vec::new(), no_new_privs: false };
        for (tgid, pid) in self.speakers()? {
            listeners.descriptors.push(self.listen_in(tgid, pid, program, &mut listeners.no_new_privs)?);
        }
        Ok(listeners)
    }

    /// For each process a task that can be made to execute a call.
    fn speakers(&self) -> Result<BTreeMap<Pid, Pid>> {
        let mut speakers: BTreeMap<Pid, Option<Pid>> = BTreeMap::new();
        for (tid, pid) in self.live_tasks() {
            let tgid = ptrace::numbers(pid).map_err(|_| refused(tid, "its process is not known"))?.tgid;
            let stands = matches!(self.backend.at(pid), At::Call(_) | At::User);
            let speaker = speakers.entry(tgid).or_default();
            *speaker = speaker.or(stands.then_some(pid));
        }
        let speaking = |(tgid, pid): (Pid, Option<Pid>)| {
            Ok((tgid, pid.ok_or_else(|| refused(tgid.unsigned_abs(), "none of its tasks stands where it can make a call"))?))
        };
        speakers.into_iter().map(speaking).collect()
    }

    fn listen_in(&mut self, tgid: Pid, pid: Pid, program: &[Instruction], no_new_privs: &mut bool) -> Result<OwnedFd> {
        let at = self.scratch(pid)?;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(program.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(at + FPROG_BYTES).to_le_bytes());
        for Instruction { code, jt, jf, k } in program {
            bytes.extend_from_slice(&code.to_le_bytes());
            bytes.extend([*jt, *jf]);
            bytes.extend_from_slice(&k.to_le_bytes());
        }
        let needed = seccomp::FILTER_NEW_LISTENER | seccomp::FILTER_TSYNC | seccomp::FILTER_TSYNC_ESRCH;
        let mut flags = needed | seccomp::FILTER_WAIT_KILLABLE_RECV;
        let mut gave_up = false;
        let number = loop {
            match self.execute_with(pid, libc::SYS_seccomp, [seccomp::SET_MODE_FILTER, flags, at, 0, 0, 0], &bytes)? {
                EACCES if !gave_up => {
                    gave_up = true;
                    self.backend.execute(pid, libc::SYS_prctl as i32, [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0])?;
                }
                EINVAL if flags != needed => flags = needed,
                ret => break ret,
            }
        };
        *no_new_privs |= gave_up;
        let listener = i32::try_from(number).ok().filter(|number| *number >= 0);
        let listener = listener.ok_or_else(|| refused(tgid.unsigned_abs(), &format!("the kernel answered {number}")))?;
        let taken = PidFd::open(tgid).and_then(|process| process.get(listener));
        self.backend.execute(pid, libc::SYS_close as i32, [listener as u64, 0, 0, 0, 0, 0])?;
        taken.map_err(|error| refused(tgid.unsigned_abs(), &format!("the listener could not be taken: {error}")))
    }
}

fn refused(tid: u32, why: &str) -> ReplayError {
    ReplayError::Unsupported { tid, call: "a filter for stat calls".to_owned(), why: why.to_owned() }
}
