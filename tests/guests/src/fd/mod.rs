//! Descriptors: their numbers, pipes, and the ways to move bytes.

mod by_number;
mod counter;
mod descriptors;
mod fifo;
mod inherit;
mod memfd;
mod notify;
mod pipes;
mod sendfile;
mod shared_pipe;

use crate::kit::guest::{Family, Guest, Run};

pub use inherit::{role_fds, role_offset};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Fd, run }
}

pub const GUESTS: &[Guest] = &[
    guest("dup", descriptors::dup),
    guest("fcntl_flags", descriptors::fcntl_flags),
    guest("close_range", descriptors::close_range),
    guest("descriptor_limit", descriptors::limit),
    guest("cloexec", inherit::cloexec),
    guest("fork_offsets", inherit::fork_offsets),
    guest("pipe_partial", pipes::partial),
    guest("pipe_nonblocking", pipes::nonblocking),
    guest("pipe_packets", pipes::packets),
    guest("pipe_large", pipes::large),
    guest("pipe_processes", pipes::processes),
    guest("pipe_end", pipes::end),
    guest("pipe_shared", shared_pipe::shared),
    guest("fifo", fifo::fifo),
    guest("sendfile_pipe", sendfile::to_pipe),
    guest("sendfile_socket", sendfile::to_socket),
    guest("sendfile_file", sendfile::to_file),
    guest("memfd", memfd::memfd),
    guest("eventfd", counter::eventfd),
    guest("eventfd_semaphore", counter::semaphore),
    guest("eventfd_processes", counter::processes),
    guest("inotify", notify::inotify),
    guest("inotify_tree", notify::tree),
    guest("by_number_descriptors", by_number::descriptors),
    guest("by_number_others", by_number::others),
    guest("rare_calls", by_number::rare),
    guest("restart_syscall", by_number::restarted),
];
