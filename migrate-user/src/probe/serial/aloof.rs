//! Keeps the agent's own threads off the CPUs on which containers take turns.
//!
//! A thread of the fair class that wakes up there waits for as long as the container computes, until the kernel's guard of such threads
//! gives it some time after most of a second: the agent is late, the ring fills, and the container stands still meanwhile.

use super::for_each_task;
use crate::sys::affinity::{self, CpuSet};
use crate::sys::sched;
use crate::sys::threads;
use std::convert::Infallible;

/// Where the agent's threads are.
#[derive(Debug, Default)]
pub(super) struct Aloof {
    /// Before anything was taken from them, and now; none: nothing has been taken yet.
    cpus: Option<(CpuSet, CpuSet)>,
}

impl Aloof {
    /// Leaves the CPUs in `taken` to others, as long as one is left; the others are the threads' again. Threads that have chosen their CPUs
    /// themselves stay there, and so do those that do not wait for tasks that take turns. New ones are where those are that start them.
    pub(super) fn keep_off(&mut self, taken: &[usize]) {
        let pid = std::process::id().cast_signed();
        self.keep(&|| threads::of(pid).collect(), taken);
    }

    fn keep(&mut self, threads: &dyn Fn() -> Vec<i32>, taken: &[usize]) {
        let pid = std::process::id().cast_signed();
        let Some((all, now)) = self.cpus.or_else(|| affinity::of(pid).ok().map(|all| (all, all))) else { return };
        let left = taken.iter().fold(all, |left, cpu| left.without(*cpu));
        let next = if left.is_empty() { all } else { left };
        let Ok(()) = for_each_task::<Infallible>(
            || Ok(threads()),
            |tid| {
                if is_placed(tid, &now) {
                    // One that has ended meanwhile needs no CPU.
                    let _ = affinity::set(tid, &next);
                }
                Ok(())
            },
        );
        self.cpus = Some((all, next));
    }
}

/// Whether the thread is where all are.
fn is_placed(tid: i32, now: &CpuSet) -> bool {
    affinity::of(tid).is_ok_and(|cpus| cpus == *now) && sched::is_fifo(tid).is_ok_and(|above| !above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A thread, and what it does until the sender is gone.
    fn thread(begin: impl FnOnce() + Send + 'static) -> (i32, mpsc::Sender<()>, std::thread::JoinHandle<()>) {
        let (stop, stopped) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let handle = std::thread::spawn(move || {
            begin();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = stopped.recv();
        });
        (told.recv().unwrap(), stop, handle)
    }

    #[test]
    fn threads_leave_the_cpus_of_containers_and_come_back_but_those_that_chose_theirs() {
        let all = affinity::of(0).unwrap();
        let cpus = all.cpus();
        let Some((&last, rest)) = cpus.split_last().filter(|(_, rest)| !rest.is_empty()) else { return };
        let (usual, stop_usual, usual_thread) = thread(|| ());
        let (own, stop_own, own_thread) = thread(move || affinity::set(0, &CpuSet::only(last)).unwrap());
        let (mut aloof, threads) = (Aloof::default(), || vec![usual, own]);
        aloof.keep(&threads, &[last]);
        assert_eq!(affinity::of(usual).unwrap().cpus(), rest);
        assert_eq!(affinity::of(own).unwrap().cpus(), [last]);
        aloof.keep(&threads, &cpus);
        assert_eq!(affinity::of(usual).unwrap(), all, "somewhere they must be");
        aloof.keep(&threads, &[last]);
        aloof.keep(&threads, &[]);
        assert_eq!(affinity::of(usual).unwrap(), all);
        assert_eq!(affinity::of(own).unwrap().cpus(), [last]);
        drop((stop_usual, stop_own));
        usual_thread.join().unwrap();
        own_thread.join().unwrap();
    }
}
