//! Threads of a guest.

use std::sync::Arc;

use crate::kit::Result;

/// A thread that gives a result.
pub type Thread<T = ()> = std::thread::JoinHandle<Result<T>>;

/// Starts a thread.
pub fn start<T: Send + 'static>(body: impl FnOnce() -> Result<T> + Send + 'static) -> Result<Thread<T>> {
    Ok(std::thread::Builder::new().stack_size(128 * 1024).spawn(body)?)
}

/// Waits for a thread's end; its failed check is this one's.
pub fn join<T>(thread: Thread<T>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => anyhow::bail!("a thread panicked"),
    }
}

/// Runs `count` threads on shared state, each with its index, and waits for all; their results in the order of the indices.
pub fn all<S, T>(count: usize, state: &Arc<S>, body: impl Fn(usize, &S) -> Result<T> + Copy + Send + 'static) -> Result<Vec<T>>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
{
    let mut threads = Vec::new();
    for index in 0..count {
        let state = Arc::clone(state);
        threads.push(start(move || body(index, &state))?);
    }
    threads.into_iter().map(join).collect()
}

/// The calling thread's number.
#[must_use]
pub fn tid() -> i32 {
    plain!(gettid())
}

/// Lets others run.
pub fn rest() -> Result {
    sys!(sched_yield()).map(drop)
}

/// Waits by yielding until something holds.
pub fn until(condition: impl Fn() -> bool) -> Result {
    while !condition() {
        rest()?;
    }
    Ok(())
}
