//! Processes: fork, exec, wait, groups, limits, identity.

mod attributes;
mod credentials;
mod ends;
mod exec;
mod forks;
mod groups;
mod orphans;
mod pidfd;
mod pipeline;
mod spawn;
mod wait;

use crate::kit::guest::{Family, Guest, Run};

pub use exec::{role_environment, role_hop};
pub use pipeline::{role_count, role_invert, role_produce};
pub use spawn::{role_echo, vfork_and_exec};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Process, run }
}

pub const GUESTS: &[Guest] = &[
    guest("fork_tree", forks::tree),
    guest("fork_many", forks::many),
    guest("fork_race", forks::race),
    guest("fork_deep", forks::deep),
    guest("clone_flags", forks::clone_flags),
    guest("vfork_exec", spawn::vfork_exec),
    guest("clone_vfork", spawn::clone_vfork),
    guest("posix_spawn", spawn::posix_spawn),
    guest("exec_self", exec::itself),
    guest("exec_chain", exec::chain),
    guest("exec_path", exec::path),
    guest("exec_errors", exec::errors),
    guest("exec_large_arguments", exec::large),
    guest("environment", exec::environment),
    guest("wait_variants", wait::variants),
    guest("waitid", wait::waitid),
    guest("zombies", wait::zombies),
    guest("exit_codes", ends::codes),
    guest("exit_order", ends::order),
    guest("exit_closes", ends::closes),
    guest("orphan", orphans::orphan),
    guest("subreaper", orphans::subreaper),
    guest("pdeathsig", orphans::death_signal),
    guest("process_groups", groups::groups),
    guest("sessions", groups::sessions),
    guest("pipeline", pipeline::pipeline),
    guest("prctl", attributes::prctl),
    guest("prlimit", attributes::limits),
    guest("nice", attributes::nice),
    guest("affinity", attributes::affinity),
    guest("scheduler", attributes::scheduler),
    guest("setuid", credentials::setuid),
    guest("capabilities", credentials::capabilities),
    guest("chroot", credentials::chroot),
    guest("pidfd", pidfd::pidfd),
];
