//! Signals: handlers, masks, waiting, interrupted calls, faults.

mod actions;
mod children;
pub mod computing;
mod context;
mod faults;
mod handlers;
mod interrupted;
mod stops;
mod waits;

use crate::kit::guest::{Family, Guest, Run};

pub use actions::role_dispositions;
pub use context::{read_guarded, recover, write_guarded};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Signal, run }
}

pub const GUESTS: &[Guest] = &[
    guest("signal_handler", handlers::handler),
    guest("signal_nested", handlers::nested),
    guest("sigaltstack", handlers::alternate_stack),
    guest("sigqueue", handlers::queue),
    guest("signal_mask", handlers::masks),
    guest("signal_flags", actions::flags),
    guest("signal_exec", actions::over_exec),
    guest("signal_fork", actions::over_fork),
    guest("sa_restart", interrupted::restart),
    guest("eintr_read", interrupted::read),
    guest("eintr_waits", interrupted::waits),
    guest("eintr_calls", interrupted::calls),
    guest("sigsuspend", waits::suspend),
    guest("sigtimedwait", waits::timed),
    guest("signal_ping_pong", waits::ping_pong),
    guest("signal_storm", waits::storm),
    guest("sigchld_storm", children::storm),
    guest("sigchld_info", children::info),
    guest("death_by_signal", children::deaths),
    guest("sigstop_sigcont", stops::stops),
    guest("sigsegv", faults::segv),
    guest("sigbus", faults::bus),
    guest("sigfpe", faults::fpe),
    guest("sigill_sigtrap", faults::ill_trap),
    guest("siglongjmp", context::long_jump),
    guest("computing", computing::plain),
    guest("computing_calls", computing::with_calls),
    guest("computing_nested", computing::nested),
    guest("computing_queue", computing::queued),
    guest("computing_sigaltstack", computing::alternate_stack),
    guest("computing_recursion", computing::recursion),
    guest("computing_copies", computing::copies),
    guest("computing_floats", computing::floats),
    guest("computing_children", computing::children),
    guest("computing_ended", computing::ended),
    guest("computing_exits", computing::handler_exits),
    guest("computing_mask", computing::masked),
    guest("computing_resethand", computing::one_time),
];
