//! The process that answers a container's stat calls, for as long as the container lives.
//!
//! ```text
//!   agent ── spawns ──> starter ── forks ──> keeper ── forks ──> worker
//!                       (exits)              waits for it        answers
//! ```
//!
//! It must outlive the agent: a filter whose listener is closed lets its calls fail with ENOSYS. So it leaves the agent's session and
//! cgroup for those of the container's shim, takes the shim's place in the eyes of the OOM killer, and ignores all signals that can be
//! ignored. Two processes hold the listeners: when the worker dies, calls wait until the keeper has made another, which begins with the
//! call over which the last one died (it lies in memory that both see). When the container's last task has ended, the kernel says so,
//! and both end.

mod caller;
mod place;
mod question;
mod rights;
mod serve;

use super::InodeMap;
use crate::sys::seccomp::Notification;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, setsid};
use serve::Server;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A worker that lived for less has met something that the next one will meet as well.
const TOO_SHORT: Duration = Duration::from_secs(1);
/// How long the keeper waits then.
const PAUSE: Duration = Duration::from_millis(20);

/// The call that is being answered; its id is 0 while none is.
#[repr(C)]
#[derive(Debug, Default)]
struct InFlight {
    listener: u32,
    call: Notification,
}

/// What a supervisor needs.
#[derive(Debug)]
pub struct Task {
    pub listeners: Vec<OwnedFd>,
    pub map: InodeMap,
    /// The container's first process, as this process's pid namespace numbers it.
    pub init: i32,
}

/// Why no supervisor could be started.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error("process {0} is in a user namespace of its own: its rights cannot be taken on")]
    UserNamespace(i32),
    #[error("cannot {doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
}

fn during(doing: &'static str) -> impl FnOnce(io::Error) -> SupervisorError {
    move |source| SupervisorError::Io { doing, source }
}

/// Forks the supervisor into the background and returns in the starter, which must have one thread.
///
/// # Errors
/// [`SupervisorError`]; nothing was forked then.
pub fn start(task: Task) -> Result<(), SupervisorError> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).map_err(during("look at user namespaces"));
    if namespace("self")? != namespace(&task.init.to_string())? {
        return Err(SupervisorError::UserNamespace(task.init));
    }
    let proc = File::open("/proc").map_err(during("open /proc"))?;
    for listener in &task.listeners {
        crate::sys::seccomp::wake_on_same_cpu(std::os::fd::AsFd::as_fd(listener));
    }
    place::beside_shim_of(task.init);
    setsid().map_err(|errno| during("leave the session")(errno.into()))?;
    // Before the fork: no signal finds a keeper that it could end.
    for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGQUIT] {
        // SAFETY: ignoring runs no code.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(|errno| during("fork")(errno.into()))? {
        ForkResult::Parent { .. } => Ok(()),
        ForkResult::Child => {
            keep(&task, &proc.into());
            std::process::exit(0)
        }
    }
}

/// Lets go of whoever started this, who takes it for the word that this process is there.
fn silence() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Runs workers until one of them has served everything.
fn keep(task: &Task, proc: &OwnedFd) {
    let mut shared = Shared::new();
    loop {
        let begun = Instant::now();
        // SAFETY: this process has one thread.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                silence();
                let served = proc.try_clone().and_then(|proc| Server::new(&task.map, proc).serve(&task.listeners, shared.get()));
                std::process::exit(i32::from(served.is_err()))
            }
            Ok(ForkResult::Parent { child }) => {
                // Not before there are two: either may be killed from now on.
                silence();
                match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, 0)) => return,
                    _ if begun.elapsed() < TOO_SHORT => std::thread::sleep(PAUSE),
                    _ => {}
                }
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// An [`InFlight`] that the keeper and its workers share.
struct Shared(std::ptr::NonNull<InFlight>);

impl Shared {
    /// In memory of its own if there is none to share: a call is then lost with its worker.
    fn new() -> Self {
        let length = std::num::NonZeroUsize::MIN.saturating_add(size_of::<InFlight>() - 1);
        let protection = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        match unsafe { nix::sys::mman::mmap_anonymous(None, length, protection, nix::sys::mman::MapFlags::MAP_SHARED) } {
            Ok(page) => Self(page.cast()),
            Err(_) => Self(std::ptr::NonNull::from(Box::leak(Box::default()))),
        }
    }

    fn get(&mut self) -> &mut InFlight {
        // SAFETY: a mapping, zeroed by the kernel, or a box, neither of which is ever given back; zeros are an InFlight. The keeper
        // does not touch it while a worker lives, and there is one worker at a time.
        unsafe { self.0.as_mut() }
    }
}
