//! Which task stands for a process: the one with the lowest number that has not ended. The first may have, while others go on.

use super::Task;
use crate::sys::ptrace::Pid;
use std::collections::BTreeMap;

/// That task of each process, of (process, number, host pid).
pub fn lowest<P: Ord>(tasks: impl IntoIterator<Item = (P, i32, Pid)>) -> BTreeMap<P, Task> {
    let mut lowest: BTreeMap<P, Task> = BTreeMap::new();
    for (process, ns_tid, host_pid) in tasks {
        let task = Task { ns_tid, host_pid };
        let known = lowest.entry(process).or_insert(task);
        if ns_tid < known.ns_tid {
            *known = task;
        }
    }
    lowest
}

/// The same tasks, ascending by number.
pub fn one_each<P: Ord>(tasks: impl IntoIterator<Item = (P, i32, Pid)>) -> Vec<Task> {
    let mut tasks: Vec<Task> = lowest(tasks).into_values().collect();
    tasks.sort_by_key(|task| task.ns_tid);
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_once_by_the_lowest_of_its_tasks() {
        let tasks = [(30, 9, 39), (10, 2, 12), (10, 1, 10), (30, 7, 37), (20, 5, 20)];
        let named: Vec<_> = one_each(tasks).iter().map(|task| (task.ns_tid, task.host_pid)).collect();
        assert_eq!(named, [(1, 10), (5, 20), (7, 37)]);
        assert_eq!(lowest(tasks)[&30].ns_tid, 7);
    }
}
