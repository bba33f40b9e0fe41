//! The ends of processes, for somebody who compares their memory with the source's.
//!
//! With such a witness a process that a signal ends goes on until a task of its has the record of its end: what its tasks' last calls
//! did to its memory comes between.

use super::backend::{At, Backend};
use super::engine::Engine;
use crate::record::Record;
use crate::verify::Standing;
use std::fmt::Debug;

/// Looks at processes of the replica at their end.
pub trait Witness: Debug + Send {
    /// A record says that a task of this process ends. `tasks`: those that have not ended, and whose program has
    /// begun; they stand still.
    fn ending(&mut self, seq: u64, process: u32, tasks: &[Standing]);

    /// The last task of this process has ended.
    fn ended(&mut self, process: u32);
}

impl<B: Backend> Engine<B> {
    /// Calls a witness to the ends of processes from here on.
    pub fn call_witness(&mut self, witness: Box<dyn Witness>) {
        self.witness = Some(witness);
    }

    /// A task is about to end.
    pub(super) fn witness_ending(&mut self, record: &Record, tgid: u32) {
        if self.witness.is_none() {
            return;
        }
        // The log does not say what the kernel gave to a program that has not begun.
        let live =
            self.tasks.values().filter(|task| task.tgid == tgid && !task.imageless && self.backend.at(task.pid) != At::Dead);
        let standing = live.filter_map(|task| {
            let (sp, ip) = self.backend.pointers(task.pid).ok()?;
            Some(Standing { pid: task.pid, ip, sp })
        });
        let standing: Vec<_> = standing.collect();
        if let Some(witness) = &mut self.witness {
            witness.ending(record.head.seq, tgid, &standing);
        }
    }

    /// A task has ended.
    pub(super) fn witness_ended(&mut self, tgid: u32) {
        let lives = self.tasks.values().any(|task| task.tgid == tgid && self.backend.at(task.pid) != At::Dead);
        if let Some(witness) = self.witness.as_mut().filter(|_| !lives) {
            witness.ended(tgid);
        }
    }
}
