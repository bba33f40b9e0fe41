//! The witness of a replay: compares the memory of the replica's processes at their end with what the log has of the source's.

use super::api::{MemoryReport, Unproven};
use super::fault;
use crate::golive::Task;
use crate::replay::ends::Witness;
use crate::round::Proof;
use crate::verify::{EndPrint, Layout, Standing, Taken, VerifyError};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// What is found, while it is.
pub(super) type Found = Arc<Mutex<MemoryReport>>;

/// What was found.
pub(super) fn taken(found: &Found) -> MemoryReport {
    std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Compares by the log's prints, or only reaches the fault point where nothing is to be compared.
#[derive(Debug)]
pub(super) struct Comparer {
    /// By the record that ends the process.
    proofs: HashMap<u64, Proof>,
    /// Processes that end right now, of which the log had something.
    told: HashSet<u32>,
    compares: bool,
    found: Found,
}

impl Comparer {
    pub(super) fn new(proofs: Vec<Proof>, compares: bool) -> (Self, Found) {
        // Until it has been seen to end otherwise.
        let report = MemoryReport { ended_with_first: proofs.len() as u64, ..MemoryReport::default() };
        let found = Arc::new(Mutex::new(report));
        let proofs = proofs.into_iter().map(|proof| (proof.seq, proof)).collect::<HashMap<_, _>>();
        (Self { proofs, told: HashSet::new(), compares, found: Arc::clone(&found) }, found)
    }

    fn count(&self, process: u32, compared: Result<Taken, String>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match compared {
            Ok(compared) => found.add(&compared),
            Err(why) => found.not_compared.push(Unproven { process, why }),
        }
    }

    /// A process of another shape is a difference, not one that nobody could look at.
    fn differs(&self, error: &VerifyError) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.processes_compared += 1;
        found.differences.push(error.to_string());
    }
}

impl Witness for Comparer {
    fn ending(&mut self, seq: u64, process: u32, tasks: &[Standing]) {
        if fault::changes_a_page()
            && let Some(task) = tasks.first()
        {
            let layout = Layout::of(&[Task { ns_tid: process.cast_signed(), host_pid: task.pid }]);
            let spoilt = layout.and_then(|layout| layout.spoil_heap());
            tracing::error!(?spoilt, process, "a page of the replica was changed, as the fault point asks");
        }
        if !self.compares {
            return;
        }
        let Some(proof) = self.proofs.remove(&seq) else { return };
        self.told.insert(process);
        self.found.lock().unwrap_or_else(PoisonError::into_inner).ended_with_first -= 1;
        if proof.process != process {
            return self.count(process, Err(format!("the log has process {} instead", proof.process)));
        }
        if tasks.is_empty() {
            return self.count(process, Err("its program had not begun, or it had ended in the replica before".to_owned()));
        }
        let packed = proof.memory.packed();
        let print = packed.and_then(|packed| EndPrint::unpack(&packed).map_err(|error| error.to_string()));
        match print.map(|print| print.compare(tasks)) {
            Ok(Err(error @ VerifyError::Mapping { .. })) => self.differs(&error),
            Ok(compared) => self.count(process, compared.map_err(|error| error.to_string())),
            Err(why) => self.count(process, Err(why)),
        }
    }

    fn ended(&mut self, process: u32) {
        if self.compares && !self.told.remove(&process) {
            self.count(process, Err("the log has nothing of its memory".to_owned()));
        }
    }
}
