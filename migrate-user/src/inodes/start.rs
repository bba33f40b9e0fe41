//! Starts a supervisor, from the agent.

use super::InodeMap;
use super::supervisor::Task;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Why a container has no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the program that answers stat calls could not be started")]
    Spawn(#[source] io::Error),
    #[error("the program that answers stat calls said: {0}")]
    Failed(String),
}

/// Starts `program inode-supervisor` and waits until it is in the background.
///
/// # Errors
/// [`StartError`]; the listeners are closed then, and the tasks that have the filter must be killed.
pub fn start(program: &std::path::Path, task: Task) -> Result<(), StartError> {
    let Task { listeners, map, init } = task;
    let mut command = Command::new(program);
    command.arg("inode-supervisor").arg("--init").arg(init.to_string());
    let numbers: Vec<RawFd> = listeners.iter().map(|listener| listener.as_raw_fd()).collect();
    for number in &numbers {
        command.arg("--listener").arg(number.to_string());
    }
    let inherit = move || {
        for &number in &numbers {
            // SAFETY: in the child, the descriptor is a copy of one that the parent holds until the program runs.
            let listener = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: it only makes system calls.
    unsafe { command.pre_exec(inherit) };
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).current_dir("/").spawn();
    drop(listeners);
    let mut child = spawned.map_err(StartError::Spawn)?;
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&encode(&map)));
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said);
    }
    let status = child.wait().map_err(StartError::Spawn)?;
    sent.map_err(StartError::Spawn)?;
    if status.success() { Ok(()) } else { Err(StartError::Failed(said.trim().to_owned())) }
}

fn encode(map: &InodeMap) -> Vec<u8> {
    postcard::to_stdvec(map).expect("a map of numbers can be encoded")
}
