//! The tasks that a log has seen begin.

/// No task has a number from here on: the kernel's PID_MAX_LIMIT.
const MAX_TID: u32 = 4 << 20;

/// A set of task numbers, as the container counts them. Asked for every record, so a bit each: at most 512 KiB.
#[derive(Debug, Default)]
pub(super) struct Tasks(Vec<u64>);

impl Tasks {
    /// False: no task has such a number.
    pub(super) fn insert(&mut self, tid: u32) -> bool {
        let word = tid as usize / 64;
        if tid < MAX_TID && word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0.get_mut(word).map(|word| *word |= 1 << (tid % 64)).is_some()
    }

    pub(super) fn contains(&self, tid: u32) -> bool {
        self.0.get(tid as usize / 64).is_some_and(|word| word >> (tid % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn exactly_the_tasks_that_began_are_known(began in proptest::collection::hash_set(0u32..2000, 0..50)) {
            let mut tasks = Tasks::default();
            began.iter().for_each(|&tid| assert!(tasks.insert(tid)));
            let known: HashSet<u32> = (0..2100).filter(|&tid| tasks.contains(tid)).collect();
            prop_assert_eq!(known, began);
        }
    }

    #[test]
    fn a_number_that_no_task_can_have_takes_no_memory() {
        let mut tasks = Tasks::default();
        assert!(!tasks.insert(u32::MAX));
        assert!(!tasks.contains(u32::MAX) && tasks.0.is_empty());
    }
}
