//! Sockets. To the outside they are stand-ins: real sockets with the same descriptors and options that speak with nobody until
//! the replica goes live. Unix sockets of the container are connected for real; what passes through them comes from the log,
//! except for descriptors.

use super::Site;
use crate::replay::backend::Backend;
use crate::replay::engine::{Engine, Step};
use crate::replay::error::Result;
use crate::sys::pidfd::PidFd;
use crate::sys::ptrace::Pid;
use migrate_common::record::Class;
use std::os::fd::{AsRawFd, OwnedFd};

const EAGAIN: i64 = -(libc::EAGAIN as i64);
/// Bytes of a msghdr, and where its fields are.
const MSGHDR_BYTES: usize = 56;
const IOV: usize = 16;
const IOV_LEN: usize = 24;
const CONTROL: usize = 32;
const CONTROL_LEN: usize = 40;

/// A task's descriptor.
pub(super) fn take_fd(pid: Pid, fd: u64) -> Option<OwnedFd> {
    PidFd::open(pid).ok()?.get(i32::try_from(fd).ok()?).ok()
}

fn socket_option(fd: &OwnedFd, option: i32) -> Option<u64> {
    let mut value = 0_i32;
    let mut len = 4_u32;
    // SAFETY: `value` and `len` are live and of the size that `len` tells.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut len) };
    if result == 0 { u64::try_from(value).ok() } else { None }
}

/// True if there is something to accept or to receive.
fn readable(fd: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The descriptors that control messages pass, see cmsg(3).
fn rights(control: &[u8]) -> Vec<i32> {
    let mut fds = Vec::new();
    let mut rest = control;
    while rest.len() >= 16 {
        let len = usize::try_from(word(rest, 0)).unwrap_or(usize::MAX);
        let kind = word(rest, 8);
        let Some(message) = rest.get(..len).filter(|m| m.len() >= 16) else { break };
        if kind == (libc::SOL_SOCKET as u64) | (libc::SCM_RIGHTS as u64) << 32 {
            let numbers = message[16..].chunks_exact(4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            fds.extend(numbers);
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    fds
}

impl<B: Backend> Engine<B> {
    pub(super) fn accept(&mut self, site: &Site<'_>) -> Result<Step> {
        let Some(listener) = take_fd(site.pid, site.call.args[0]) else {
            return Err(self.desync(site.record, "a listening socket", "no such descriptor"));
        };
        if site.record.class() == Class::Unix {
            if !readable(&listener) {
                return Ok(Step::NotYet);
            }
            self.execute_same(site, site.call.args)?;
            return self.inject(site);
        }
        let domain = socket_option(&listener, libc::SO_DOMAIN).unwrap_or(libc::AF_INET as u64);
        let kind = socket_option(&listener, libc::SO_TYPE).unwrap_or(libc::SOCK_STREAM as u64);
        let protocol = socket_option(&listener, libc::SO_PROTOCOL).unwrap_or(0);
        let flags = if i64::from(site.call.nr) == libc::SYS_accept4 { site.call.args[3] } else { 0 };
        let ret = self.call(site, libc::SYS_socket, [domain, kind | flags, protocol, 0, 0, 0])?;
        self.expect_result(site, ret)?;
        self.inject(site)
    }

    pub(super) fn connect(&mut self, site: &Site<'_>) -> Result<Step> {
        let [fd, ..] = site.call.args;
        if site.record.class() == Class::Unix {
            self.execute_same(site, site.call.args)?;
        } else if let Some(socket) = take_fd(site.pid, fd)
            && socket_option(&socket, libc::SO_TYPE) != Some(libc::SOCK_STREAM as u64)
        {
            // A datagram socket only remembers its peer. If the replica has no route yet, it is set when it goes live.
            self.backend.execute(site.pid, site.call.nr, site.call.args)?;
        }
        self.inject(site)
    }

    pub(super) fn shutdown(&mut self, site: &Site<'_>) -> Result<Step> {
        if site.record.class() == Class::Unix {
            return self.reissue(site);
        }
        self.inject(site)
    }

    /// A stand-in has no peer: it may refuse an option that the connection took. Those are set when the connection is built.
    pub(super) fn setsockopt(&mut self, site: &Site<'_>) -> Result<Step> {
        self.backend.execute(site.pid, site.call.nr, site.call.args)?;
        self.inject(site)
    }

    pub(super) fn sendmsg(&mut self, site: &Site<'_>) -> Result<Step> {
        if site.record.class() != Class::Unix {
            return self.inject(site);
        }
        let mut head = [0; MSGHDR_BYTES];
        self.backend.read(site.pid, site.call.args[1], &mut head)?;
        let mut control = vec![0; usize::try_from(word(&head, CONTROL_LEN)).unwrap_or(0).min(64 * 1024)];
        if word(&head, CONTROL) != 0 {
            self.backend.read(site.pid, word(&head, CONTROL), &mut control)?;
        }
        if word(&head, CONTROL) == 0 || rights(&control).is_empty() {
            return self.inject(site);
        }
        let flags = site.call.args[2] | libc::MSG_DONTWAIT as u64;
        let ret = self.pass_one_byte(site, &head, libc::SYS_sendmsg, flags)?;
        if ret == EAGAIN {
            return Ok(Step::NotYet);
        }
        if ret != 1 {
            return Err(self.desync(site.record, "descriptors are sent", &format!("sendmsg returns {ret}")));
        }
        self.inject(site)
    }

    pub(super) fn recvmsg(&mut self, site: &Site<'_>) -> Result<Step> {
        if site.record.class() != Class::Unix {
            return self.inject(site);
        }
        let at = site.call.args[1];
        let logged = site.record.segments().find(|segment| segment.addr == at && segment.bytes.len() == MSGHDR_BYTES);
        let Some(logged) = logged else { return self.inject(site) };
        let control_at = word(logged.bytes, CONTROL);
        let control = site.record.segments().find(|segment| segment.addr == control_at);
        let want = control.map_or_else(Vec::new, |segment| rights(segment.bytes));
        if want.is_empty() {
            return self.inject(site);
        }
        match take_fd(site.pid, site.call.args[0]) {
            Some(socket) if readable(&socket) => {}
            _ => return Ok(Step::NotYet),
        }
        let mut head = [0; MSGHDR_BYTES];
        self.backend.read(site.pid, at, &mut head)?;
        let flags = site.call.args[2] | libc::MSG_DONTWAIT as u64;
        let ret = self.pass_one_byte(site, &head, libc::SYS_recvmsg, flags)?;
        if ret == EAGAIN {
            return Ok(Step::NotYet);
        }
        let mut got = vec![0; usize::try_from(word(&head, CONTROL_LEN)).unwrap_or(0).min(64 * 1024)];
        self.backend.read(site.pid, control_at, &mut got)?;
        let got = rights(&got);
        if ret != 1 || got.get(..want.len()) != Some(&want) {
            return Err(self.desync(site.record, &format!("descriptors {want:?} arrive"), &format!("{got:?} arrive")));
        }
        self.inject(site)
    }

    /// Sends or receives the message with one byte of its data, so that nothing stays in the queue that the log has as well.
    fn pass_one_byte(&mut self, site: &Site<'_>, head: &[u8; MSGHDR_BYTES], nr: i64, flags: u64) -> Result<i64> {
        let scratch = self.scratch(site.pid)?;
        let mut message = *head;
        message[IOV..IOV + 8].copy_from_slice(&(scratch + MSGHDR_BYTES as u64).to_le_bytes());
        message[IOV_LEN..IOV_LEN + 8].copy_from_slice(&1_u64.to_le_bytes());
        let mut bytes = message.to_vec();
        bytes.extend_from_slice(&(scratch + MSGHDR_BYTES as u64 + 16).to_le_bytes());
        bytes.extend_from_slice(&1_u64.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        self.execute_with(site.pid, nr, [site.call.args[0], scratch, flags, 0, 0, 0], &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, fds: &[i32]) -> Vec<u8> {
        let len = 16 + fds.len() * 4;
        let mut bytes = (len as u64).to_le_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(fds.iter().flat_map(|fd| fd.to_ne_bytes()));
        bytes.resize(len.next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn descriptors_are_found_among_other_control_messages() {
        let mut control = message(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[1, 2, 3]);
        control.extend(message(libc::SOL_SOCKET, libc::SCM_RIGHTS, &[7, 8, 9]));
        assert_eq!(rights(&control), [7, 8, 9]);
        assert_eq!(rights(&control[..20]), Vec::<i32>::new());
        assert_eq!(rights(&[0xff; 40]), Vec::<i32>::new());
    }
}
