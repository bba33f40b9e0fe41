//! Whole moves of kernel objects between two processes and two network namespaces. They need root and say so when they skip.

mod epoll;
mod half_closed;
mod holder;
mod objects;
mod stage;
mod stragglers;
mod tables;
mod tcp;
mod unix;

use super::{Snapshot, Task};
use holder::Holder;

/// Whether these tests can run; prints why not.
fn privileged(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped {test}: not root");
        return false;
    }
    match stage::new_namespace() {
        Ok(_) => true,
        Err(error) => {
            println!("skipped {test}: cannot make a network namespace: {error}");
            false
        }
    }
}

/// Waits for what will come; a test that hangs here says what did not.
fn until(mut come: impl FnMut() -> bool) {
    while !come() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn task(holder: &Holder) -> Task {
    Task { ns_tid: 1, host_pid: holder.pid() }
}

/// Captures, and sends the result through the wire's encoding.
fn capture(holders: &[&Holder]) -> Snapshot {
    let tasks = tasks(holders);
    let snapshot = super::capture(&tasks).unwrap();
    let packed = postcard::to_stdvec(&snapshot).unwrap();
    assert_eq!(postcard::from_bytes::<Snapshot>(&packed).unwrap(), snapshot);
    snapshot
}

fn tasks(holders: &[&Holder]) -> Vec<Task> {
    holders.iter().zip(1..).map(|(holder, ns_tid)| Task { ns_tid, host_pid: holder.pid() }).collect()
}
