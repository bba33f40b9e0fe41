//! Pipes and FIFOs: the bytes inside.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee};
use serde::{Deserialize, Serialize};

use super::error::During;
use super::{Bytes, Obstacle, Task};
use crate::sys::sockopt;

/// A pipe's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeContents {
    /// In bytes.
    pub capacity: u32,
    /// Do writes stay apart (`O_DIRECT`)?
    pub packets: bool,
    /// What a reader would get next, cut where a read would stop (one piece unless writes stay apart).
    ///
    /// `None` when no task of the container can read it: what is inside belongs to somebody else, such as what collects
    /// the container's output, and replay has written the same to its counterpart.
    pub pieces: Option<Vec<Bytes>>,
}

/// Reads a pipe without taking anything: `tee` lets a scratch pipe share its pages. `reader` is a read end of it; `packets` says
/// whether any end has `O_DIRECT` set.
///
/// # Errors
/// A failing call, or contents that change meanwhile.
pub(super) fn capture(reader: BorrowedFd<'_>, packets: bool) -> Result<PipeContents, Obstacle> {
    let capacity = fcntl_getpipe_size(reader).during("reading a pipe's capacity")?;
    let inside = sockopt::ioctl_int(reader, libc::FIONREAD).during("counting a pipe's bytes")? as usize;
    let mut pieces = Vec::new();
    if inside > 0 {
        let (scratch, writer) = pipe_with(PipeFlags::CLOEXEC).during("making a scratch pipe")?;
        fcntl_setpipe_size(&writer, capacity).during("sizing a scratch pipe")?;
        let copied = tee(reader, &writer, i32::MAX as usize, SpliceFlags::NONBLOCK).during("copying a pipe")?;
        if copied != inside {
            return Err(Obstacle::Passing(format!("a pipe of {inside} bytes gave {copied}")));
        }
        drop(writer);
        let mut buffer = vec![0; inside];
        loop {
            // A packet ends a read early, as it would for the program.
            let got = rustix::io::read(&scratch, &mut buffer).during("reading a scratch pipe")?;
            if got == 0 {
                break;
            }
            pieces.push(Bytes(buffer[..got].to_vec()));
        }
    }
    let packets = packets || pieces.len() > 1;
    Ok(PipeContents { capacity: capacity as u32, packets, pieces: Some(pieces) })
}

/// The state of a pipe that the container only writes to.
///
/// # Errors
/// A failing fcntl.
pub(super) fn capture_unread(writer: BorrowedFd<'_>) -> Result<PipeContents, Obstacle> {
    let capacity = fcntl_getpipe_size(writer).during("reading a pipe's capacity")? as u32;
    Ok(PipeContents { capacity, packets: false, pieces: None })
}

/// Empties the replica's pipe and fills it with the source's bytes; returns how many.
///
/// `(task, fd)` is any end of it, `held` our descriptor of that end.
///
/// # Errors
/// A failing call, or a pipe that does not take as much as the source's held.
pub(super) fn restore(task: Task, fd: RawFd, held: BorrowedFd<'_>, wanted: &PipeContents) -> Result<usize, Obstacle> {
    if fcntl_getpipe_size(held).during("reading a pipe's capacity")? as u32 != wanted.capacity {
        fcntl_setpipe_size(held, wanted.capacity as usize).during("sizing a pipe")?;
    }
    let Some(pieces) = &wanted.pieces else { return Ok(0) };
    // Opened anew through /proc: never blocks, whatever the flags of the program's own ends, and works when only one is left.
    let path = format!("/proc/{}/fd/{fd}", task.host_pid);
    let open = |options: &mut OpenOptions, flags: OFlags| options.custom_flags(flags.bits() as i32).open(&path);
    if sockopt::ioctl_int(held, libc::FIONREAD).during("counting a pipe's bytes")? > 0 {
        let mut stale = open(OpenOptions::new().read(true), OFlags::NONBLOCK).during("opening a pipe for reading")?;
        let mut buffer = vec![0; wanted.capacity as usize];
        while sockopt::ioctl_int(stale.as_fd(), libc::FIONREAD).during("counting a pipe's bytes")? > 0 {
            stale.read(&mut buffer).during("emptying a pipe")?;
        }
    }
    if pieces.is_empty() {
        return Ok(0);
    }
    let mut writer = open(OpenOptions::new().write(true), OFlags::NONBLOCK).during("opening a pipe for writing")?;
    if wanted.packets {
        // Not possible while opening.
        fcntl_setfl(&writer, OFlags::NONBLOCK | OFlags::DIRECT).during("keeping packets apart")?;
    }
    for piece in pieces {
        writer.write_all(piece).during("filling a pipe")?;
    }
    Ok(pieces.iter().map(|piece| piece.len()).sum())
}
