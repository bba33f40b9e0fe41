//! Answers calls until no task is left that could make one.

use super::InFlight;
use super::caller::Callers;
use super::question::{Answer, Form, Place, Question};
use super::rights::Acting;
use crate::inodes::InodeMap;
use crate::inodes::filter::RIGHTS;
use crate::sys::seccomp::{self, Notification};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::OFlags;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The answering half. It has the process's only thread, whose root directory and rights it changes.
pub(super) struct Server<'a> {
    map: &'a InodeMap,
    callers: Callers,
    acting: Acting,
}

/// What is done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The kernel executes it: the numbers are the file's own, or it fails, or this program cannot tell.
    Pass,
    /// Its answer is in the caller's memory.
    Answered,
}

impl<'a> Server<'a> {
    /// `proc`: the `/proc` whose numbers the notifications have.
    pub(super) fn new(map: &'a InodeMap, proc: OwnedFd) -> Self {
        Self { map, callers: Callers::new(proc), acting: Acting::default() }
    }

    /// Serves `listeners`. Begins with the call that `in_flight` has, if another worker died over it.
    ///
    /// # Errors
    /// A failing poll.
    pub(super) fn serve(&mut self, listeners: &[OwnedFd], in_flight: &mut InFlight) -> io::Result<()> {
        if let Some(listener) = listeners.get(in_flight.listener as usize)
            && in_flight.call.id != 0
        {
            self.answer(listener.as_fd(), in_flight);
        }
        let mut open: Vec<u32> = (0..listeners.len() as u32).collect();
        while !open.is_empty() {
            let mut fds: Vec<PollFd<'_>> =
                open.iter().map(|&at| PollFd::new(listeners[at as usize].as_fd(), PollFlags::POLLIN)).collect();
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let events: Vec<PollFlags> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
            for (&at, events) in open.iter().zip(&events) {
                if events.contains(PollFlags::POLLIN) {
                    in_flight.listener = at;
                    let listener = listeners[at as usize].as_fd();
                    // Interrupted before it was taken: the task makes it again.
                    if seccomp::receive(listener, &mut in_flight.call).is_ok() {
                        self.answer(listener, in_flight);
                    } else {
                        in_flight.call = Notification::default();
                    }
                }
            }
            let mut events = events.iter();
            open.retain(|_| {
                events.next().is_none_or(|event| {
                    event.contains(PollFlags::POLLIN) || !event.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
                })
            });
        }
        Ok(())
    }

    fn answer(&mut self, listener: BorrowedFd<'_>, in_flight: &mut InFlight) {
        let call = in_flight.call;
        // Whatever fails here fails in the kernel as well, or shows the file's own numbers.
        let verdict = self.judge(listener, &call).unwrap_or(Verdict::Pass);
        // The task may have been killed.
        let _ = match verdict {
            Verdict::Pass => seccomp::let_pass(listener, call.id),
            Verdict::Answered => seccomp::succeed(listener, call.id),
        };
        in_flight.call = Notification::default();
    }

    fn judge(&mut self, listener: BorrowedFd<'_>, call: &Notification) -> io::Result<Verdict> {
        if RIGHTS.contains(&i64::from(call.nr)) {
            self.callers.forget(call.tid);
            return Ok(Verdict::Pass);
        }
        let Some(question) = Question::of(call).filter(|_| call.tid != 0) else { return Ok(Verdict::Pass) };
        let Some(mut answer) = self.look(call.tid, question)? else { return Ok(Verdict::Pass) };
        let Some(shown) = self.map.shown(answer.identity()) else { return Ok(Verdict::Pass) };
        answer.set_identity(shown);
        // Was it this task's name and directory that were looked at, and is it this task's memory?
        if !seccomp::waits(listener, call.id) {
            return Ok(Verdict::Pass);
        }
        self.callers.find(call.tid)?.write(question.address, answer.bytes())?;
        Ok(Verdict::Answered)
    }

    /// What the kernel would answer; `None` where the call itself is to find out.
    fn look(&mut self, tid: u32, mut question: Question) -> io::Result<Option<Answer>> {
        let caller = self.callers.find(tid)?;
        let mut name = Vec::new();
        if let Place::Name { address, .. } = question.place {
            name = caller.name(address)?;
            if name.is_empty() {
                let Some(nameless) = question.without_name() else { return Ok(None) };
                question = nameless;
            }
        }
        let Question { place, flags, form, .. } = question;
        // The links of /proc lead to the open file itself, whatever has become of its name.
        let follow = flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW);
        match place {
            Place::Descriptor(fd) => Ok(look_at(caller.directory(), &CString::new(format!("fd/{fd}"))?, follow, form)),
            Place::WorkingDirectory => Ok(look_at(caller.directory(), c"cwd", follow, form)),
            Place::Name { from, .. } => {
                // Names and symbolic links begin at the caller's root, and do not lead above it.
                let root = caller.open("root", OFlags::DIRECTORY)?;
                rustix::process::fchdir(&root)?;
                rustix::process::chroot(".")?;
                let start = match from {
                    _ if name.first() == Some(&b'/') => root,
                    libc::AT_FDCWD => caller.open("cwd", OFlags::DIRECTORY)?,
                    fd => caller.open(&format!("fd/{fd}"), OFlags::DIRECTORY)?,
                };
                let name = CString::new(name)?;
                self.acting.with(caller.rights()?, || look_at(start.as_fd(), &name, flags, form))
            }
        }
    }
}

/// The kernel's answer, in the caller's form; `None` if the call fails.
fn look_at(from: BorrowedFd<'_>, name: &CStr, flags: i32, form: Form) -> Option<Answer> {
    let mut answer = Answer::new(form);
    let into = answer.as_mut_ptr();
    let from = from.as_raw_fd();
    // SAFETY: the name ends with a zero, and an answer has room for either form.
    let done = unsafe {
        match form {
            Form::Stat => libc::syscall(libc::SYS_newfstatat, from, name.as_ptr(), into, flags),
            Form::Statx { mask } => libc::syscall(libc::SYS_statx, from, name.as_ptr(), flags, mask, into),
        }
    };
    (done == 0).then_some(answer)
}
