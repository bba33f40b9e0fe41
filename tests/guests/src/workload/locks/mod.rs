//! Tasks that take turns by every lock that glibc has, and by raw futexes: `threads` in one process, `shm` in several processes that
//! share memory (anonymous, and a POSIX shared memory file that each maps for itself).
//!
//! Every acquisition is an event of one digest chain, taken down while the lock is held, so the chain depends on the order of all
//! of them. Lines of the chain are printed as they become full:
//!
//! ```text
//!   links 0 DIGEST                  random
//!   links N DIGEST EVENT EVENT …    DIGEST: the one of the line before, mixed with each event
//! ```
//!
//! so that whoever reads them can calculate each from the one before. What the locks promise is checked at every step: one holder
//! of a mutex, no reader beside a writer, as many holders of a semaphore as it has permits, a queue's order, nobody past a
//! barrier before all have come. Some locks are asked for with a time limit, and some die with their holder.

mod futex;
mod ledger;
mod objects;
mod room;
mod shm;
mod steps;
mod threads;

pub use shm::shm;
pub use threads::threads;
