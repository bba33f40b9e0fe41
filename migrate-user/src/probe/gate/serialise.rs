//! The moments at which the gate has the container serialised, and the other reasons for which the programs hold a task.

use super::{Gate, GateEvent};
use crate::probe::serial::{Policy, Serial, SerialError};
use crate::sys::kcmp;
use crate::sys::ptrace::{self, Pid};
use migrate_common::maps::hold;
use std::sync::Arc;
use std::time::Instant;

impl<F: FnMut(GateEvent)> Gate<F> {
    /// Has the container's tasks take turns as soon as they share memory.
    #[must_use]
    pub fn taking_turns(mut self, serial: Arc<Serial>) -> Self {
        self.serial = Some(serial);
        self
    }

    /// A program has held a task, and told why. The signal goes no further.
    pub(super) fn held(&mut self, pid: Pid, why: u32) -> ptrace::Result<()> {
        match why {
            hold::SHARED => self.serialise(pid),
            hold::SCHEDULED => {
                if let Some(Err(error)) = self.serial.as_ref().map(|serial| serial.renew()) {
                    self.not_serial(pid, &error);
                }
            }
            // That it stopped was all.
            hold::ROTATE => {
                if let Some(serial) = &self.serial {
                    serial.rotated();
                }
            }
            _ => {
                self.paused.insert(pid, Instant::now());
                return Ok(());
            }
        }
        self.go_on(pid, 0)
    }

    /// A task has made a task; both stand still. A vfork's parent does until its child has left its memory.
    pub(super) fn forked(&mut self, pid: Pid, child: Pid, vfork: bool) {
        // Of tasks that cannot be compared nothing better can be assumed.
        if self.serial.is_some() && !vfork && kcmp::same_memory(pid, child).unwrap_or(true) {
            self.serialise(pid);
        }
    }

    /// A task stands before the first instruction of an image.
    pub(super) fn execed(&mut self, pid: Pid) {
        if self.serial.as_ref().is_some_and(|serial| serial.policy() == Policy::Always) {
            self.serialise(pid);
        }
    }

    fn serialise(&mut self, pid: Pid) {
        match self.serial.as_ref().map(|serial| serial.begin()) {
            Some(Ok(Some(cpu))) => {
                // Its answers must not wait for those whose turn it is.
                crate::probe::serial::run_above();
                (self.tell)(GateEvent::Serial { cpu });
            }
            Some(Err(error)) => self.not_serial(pid, &error),
            Some(Ok(None)) | None => {}
        }
    }

    fn not_serial(&mut self, pid: Pid, error: &SerialError) {
        let why = match error {
            SerialError::Never => error.to_string(),
            // The log is of no use already, and why has been told.
            SerialError::Ended => return self.serial = None,
            _ => format!("its tasks share memory and cannot take turns: {error}"),
        };
        self.serial = None;
        (self.tell)(GateEvent::NotMigratable { host_tid: pid.unsigned_abs(), why });
    }
}
