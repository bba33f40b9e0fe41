//! System V IPC and POSIX message queues.

mod messages;
mod queues;
mod segments;
mod semaphores;

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Ipc, run }
}

pub const GUESTS: &[Guest] = &[
    guest("sysv_shm", segments::segment),
    guest("sysv_shm_counter", segments::counter),
    guest("sysv_shm_control", segments::control),
    guest("sysv_sem", semaphores::semaphore),
    guest("sysv_sem_sets", semaphores::sets),
    guest("sysv_sem_undo", semaphores::undo),
    guest("sysv_sem_waits", semaphores::waits),
    guest("sysv_sem_timeouts", semaphores::timeouts),
    guest("sysv_msg", messages::kinds),
    guest("sysv_msg_waits", messages::waits),
    guest("sysv_msg_control", messages::control),
    guest("posix_queue", queues::queue),
];
