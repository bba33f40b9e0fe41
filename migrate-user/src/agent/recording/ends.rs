//! What a log keeps of the processes that end.

use crate::round::{Memory, Proof, Proofs};
use crate::verify::EndPrint;
use std::collections::{HashMap, VecDeque};

/// What a proof takes in the footer beside its memory, at most.
const PROOF_BYTES: usize = 100;
/// The most that all prints may take there, in bytes of JSON, of the 16 MiB that a footer has.
const PRINTS_BYTES: usize = 12 << 20;
/// The same with what is said of processes without a print.
const MAX_BYTES: usize = 14 << 20;

/// Joins what the gate tells of tasks before their end with their records of it.
///
/// The gate is ahead of the ring, and a number can end twice in a row: with an exec by a thread its leader ends, and the thread goes
/// on by the leader's number. So each number has a queue.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// By task, as the host numbers it: the ends that have no record yet, of which process, by its key in `pending`.
    tasks: HashMap<u32, VecDeque<Option<u64>>>,
    /// Processes of which no task has made the record of its end.
    pending: HashMap<u64, (u32, Memory)>,
    next: u64,
    proofs: Proofs,
    bytes: usize,
}

impl Ends {
    /// The gate has seen tasks come to their end, and with them perhaps a process.
    pub(super) fn ends(&mut self, host_tids: &[u32], process: Option<(u32, Result<Box<EndPrint>, String>)>) {
        let key = process.map(|(process, print)| {
            let packed = print.and_then(|print| print.pack().map_err(|error| error.to_string()));
            self.add(process, packed.map_or_else(Memory::Unknown, |packed| Memory::of(&packed)))
        });
        for host_tid in host_tids {
            self.tasks.entry(*host_tid).or_default().push_back(key);
        }
    }

    fn add(&mut self, process: u32, memory: Memory) -> u64 {
        self.next += 1;
        self.pending.insert(self.next, (process, memory));
        self.next
    }

    /// Record `seq` tells the end of a task.
    pub(super) fn exited(&mut self, seq: u64, host_tid: u32) {
        let Some(ends) = self.tasks.get_mut(&host_tid) else { return };
        let key = ends.pop_front().flatten();
        if ends.is_empty() {
            self.tasks.remove(&host_tid);
        }
        let Some((process, mut memory)) = key.and_then(|key| self.pending.remove(&key)) else { return };
        if self.bytes + memory.text_bytes() + PROOF_BYTES > PRINTS_BYTES {
            memory = Memory::Unknown("the log has no room for more prints".to_owned());
        }
        let bytes = memory.text_bytes() + PROOF_BYTES;
        if self.bytes + bytes <= MAX_BYTES {
            self.bytes += bytes;
            self.proofs.processes.push(Proof { seq, process, memory });
        }
    }

    /// Everything that was joined.
    pub(super) fn take(&mut self) -> Proofs {
        std::mem::take(&mut self.proofs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(ends: &mut Ends, host_tids: &[u32], process: u32) {
        ends.ends(host_tids, Some((process, Err("no".to_owned()))));
    }

    #[test]
    fn a_process_s_print_belongs_to_the_first_record_of_its_end() {
        let mut ends = Ends::default();
        unknown(&mut ends, &[10, 11], 2);
        unknown(&mut ends, &[30], 1);
        ends.exited(4, 99);
        ends.exited(5, 11);
        ends.exited(6, 10);
        // The number is used again, by another process.
        unknown(&mut ends, &[10], 7);
        ends.exited(8, 10);
        ends.exited(9, 30);
        let found: Vec<_> = ends.take().processes.iter().map(|proof| (proof.seq, proof.process)).collect();
        assert_eq!(found, [(5, 2), (8, 7), (9, 1)]);
    }

    #[test]
    fn a_number_that_ends_twice_before_its_first_record_comes_is_not_mistaken() {
        let mut ends = Ends::default();
        // A thread's exec ends the leader, and the new image ends by its number.
        ends.ends(&[10], None);
        unknown(&mut ends, &[10], 2);
        ends.exited(4, 10);
        ends.exited(9, 10);
        let found: Vec<_> = ends.take().processes.iter().map(|proof| (proof.seq, proof.process)).collect();
        assert_eq!(found, [(9, 2)]);
    }

    #[test]
    fn prints_without_room_are_named_and_the_footer_stays_within_its_bounds() {
        let mut ends = Ends::default();
        for process in 0..20_u32 {
            let key = ends.add(process, Memory::of(&vec![7; 1 << 19]));
            ends.tasks.entry(process).or_default().push_back(Some(key));
            ends.exited(process.into(), process);
        }
        let proofs = ends.take();
        let without = proofs.processes.iter().filter(|proof| proof.memory.packed().is_err()).count();
        assert!(without > 5 && without < 20, "{without}");
        assert!(serde_json::to_vec(&proofs).unwrap().len() < MAX_BYTES);
    }
}
