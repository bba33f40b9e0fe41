//! The moments at which the gate has the container serialised, and the other reasons for which the programs hold a task.

use super::{Gate, GateEvent};
use crate::probe::serial::{Policy, Serial, SerialError};
use crate::sys::kcmp;
use crate::sys::ptrace::{self, Pid, Stop, Waited};
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
            hold::SHARED => self.serialise(pid, None),
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
            hold::TRACKED => self.asked(pid),
            _ => {
                self.paused.insert(pid, Instant::now());
                return Ok(());
            }
        }
        self.go_on(pid, 0)
    }

    /// A task has made a task, and stands still. If it is the first that shares its memory with others, the new one stands still, too,
    /// until all take turns: its replica does not move before the record that says that it runs.
    pub(super) fn forked(&mut self, pid: Pid, child: Pid, vfork: bool) -> ptrace::Result<()> {
        self.tasks.entry(child).or_default();
        let mut stopped = self.early.remove(&child);
        // A vfork's parent stands still until its child has left its memory. Of tasks that cannot be compared nothing better can be
        // assumed.
        let same = !vfork && kcmp::same_memory(pid, child).unwrap_or(true);
        let shares = same && self.serial.is_some() && !self.shared;
        let begins = if same { self.begins_threads(pid, child) } else { None };
        stopped = stopped || ((shares || begins.is_some()) && self.first_stop(child));
        if let Some(tgid) = begins.filter(|_| stopped) {
            self.track(child, tgid);
        }
        if shares {
            self.shared = true;
            // A container that was serial from its start has told nothing of this one.
            if let Some(serial) = self.serial.clone().filter(|serial| stopped && serial.cpu().is_some()) {
                if let Err(error) = serial.shares(child) {
                    self.not_serial(pid, &error);
                }
            } else {
                self.serialise(pid, stopped.then_some(child));
            }
        }
        if stopped {
            match self.go_on(child, 0) {
                Err(error) if !error.is_gone() => return Err(error),
                _ => {}
            }
        }
        self.go_on(pid, 0)
    }

    /// Waits for the stop of a task that has not moved yet. False: it ends instead.
    fn first_stop(&mut self, child: Pid) -> bool {
        match self.lone.wait(child) {
            Ok(Waited::Stopped(_, Stop::Event)) => true,
            // Killed before it has moved.
            Ok(Waited::Stopped(_, Stop::Exiting)) => {
                self.ends_alone(child);
                false
            }
            _ => {
                self.tasks.remove(&child);
                (self.tell)(GateEvent::TaskEnded { host_tid: child.unsigned_abs() });
                false
            }
        }
    }

    /// A task has ended. If it was killed while it made another, nobody tells of that.
    pub(super) fn orphaned(&mut self, pid: Pid) -> ptrace::Result<()> {
        let orphans: Vec<Pid> = self.early.iter().copied().collect();
        for child in orphans {
            self.forked(pid, child, false).or_else(|error| if error.is_gone() { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }

    /// A task stands before the first instruction of an image.
    pub(super) fn execed(&mut self, pid: Pid) {
        if self.serial.as_ref().is_some_and(|serial| serial.policy() == Policy::Always) {
            self.serialise(pid, None);
        }
    }

    /// `held`: a task that stands still outside of a call, and whose going on is to be recorded.
    fn serialise(&mut self, pid: Pid, held: Option<Pid>) {
        match self.serial.as_ref().map(|serial| serial.begin(held)) {
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
