//! Threads: their lives, what each has of its own, locks, blocking calls, turns.

mod blocked;
mod cancel;
mod conditions;
mod forks;
mod lives;
mod locks;
mod own;
mod raw;
mod readings;
mod renumber;
mod signals;
mod tight;
mod turns;

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Thread, run }
}

pub const GUESTS: &[Guest] = &[
    guest("thread_join", lives::join),
    guest("thread_detached", lives::detached),
    guest("thread_many", lives::many),
    guest("thread_reuse", lives::reuse),
    guest("thread_left_behind", lives::left_behind),
    guest("thread_main_ends_first", lives::main_ends_first),
    guest("thread_exit_group", lives::exit_group),
    guest("thread_fork", forks::fork),
    guest("thread_fork_race", forks::race),
    guest("thread_exec", forks::exec),
    guest("thread_spawn", forks::spawn),
    guest("thread_vfork", forks::vfork),
    guest("clone_thread", raw::clone_thread),
    guest("clone3_thread", raw::clone3_thread),
    guest("clone_vm_process", raw::clone_vm),
    guest("clear_child_tid", raw::clear_child_tid),
    guest("thread_local", own::local),
    guest("clocks_of_threads", readings::threads),
    guest("clocks_of_handlers", readings::signals),
    guest("clocks_of_forks", readings::forks),
    guest("thread_names", own::names),
    guest("thread_priorities", own::priorities),
    guest("thread_masks", signals::masks),
    guest("thread_tgkill", signals::directed),
    guest("thread_sigwait", signals::waiter),
    guest("thread_alternate_stack", signals::alternate),
    guest("mutex_contended", locks::contended),
    guest("mutex_kinds", locks::kinds),
    guest("mutex_robust", locks::robust),
    guest("rwlock", locks::rwlock),
    guest("barrier", locks::barrier),
    guest("semaphore", locks::semaphore),
    guest("spinlock", locks::spin),
    guest("once", locks::once),
    guest("condition_queue", conditions::queue),
    guest("condition_timeout", conditions::timeout),
    guest("condition_broadcast", conditions::broadcast),
    guest("thread_blocked_read", blocked::read),
    guest("thread_blocked_accept", blocked::accept),
    guest("thread_blocked_epoll", blocked::epoll),
    guest("thread_sleepers", blocked::sleepers),
    guest("thread_ring", blocked::ring),
    guest("thread_renumbered_descriptor", renumber::renumber),
    guest("thread_cancel", cancel::cancel),
    guest("thread_yield", turns::yields),
    guest("thread_compute", turns::compute),
    guest("thread_tight_loops", tight::tight),
    guest("thread_spin_turns", turns::spin),
    guest("membarrier", turns::membarrier),
];
