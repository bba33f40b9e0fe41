//! The memory of processes as files: /proc/PID/mem, whatever the pages' protection is.

use super::error::VerifyError;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// One open file a process, by host pid.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<i32, File>);

impl Memory {
    /// Opens a process's.
    ///
    /// # Errors
    /// `EACCES` without the right to trace it, `ENOENT` if it has ended.
    pub(super) fn open(&mut self, pid: i32) -> Result<(), VerifyError> {
        let file = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
        let file = file.map_err(|source| VerifyError::Io { what: "opening the memory", pid, source })?;
        self.0.insert(pid, file);
        Ok(())
    }

    pub(super) fn read(&self, pid: i32, address: u64, into: &mut [u8]) -> Result<(), VerifyError> {
        let done = self.of(pid).and_then(|file| file.read_exact_at(into, address));
        done.map_err(|source| VerifyError::Io { what: "reading the memory", pid, source })
    }

    /// Of a private mapping the page becomes the process's own.
    pub(super) fn write(&self, pid: i32, address: u64, bytes: &[u8]) -> Result<(), VerifyError> {
        let done = self.of(pid).and_then(|file| file.write_all_at(bytes, address));
        done.map_err(|source| VerifyError::Io { what: "writing the memory", pid, source })
    }

    fn of(&self, pid: i32) -> std::io::Result<&File> {
        self.0.get(&pid).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}
