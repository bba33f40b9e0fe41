//! Waiting for descriptors: epoll, poll, select, and signals as descriptors.

mod levels;
mod masks;
mod mixed;
mod poll;
mod select;
mod signalfd;

use crate::kit::guest::{Family, Guest, Run};

const fn guest(name: &'static str, run: Run) -> Guest {
    Guest { name, family: Family::Epoll, run }
}

pub const GUESTS: &[Guest] = &[
    guest("epoll_level", levels::level),
    guest("epoll_edge", levels::edge),
    guest("epoll_oneshot", levels::oneshot),
    guest("epoll_nested", levels::nested),
    guest("epoll_dup", levels::duplicates),
    guest("epoll_pwait", masks::pwait),
    guest("epoll_timeouts", masks::timeouts),
    guest("epoll_mixed", mixed::mixed),
    guest("epoll_server", mixed::server),
    guest("poll", poll::poll),
    guest("ppoll", poll::ppoll),
    guest("select", select::select),
    guest("pselect", select::pselect),
    guest("signalfd", signalfd::signalfd),
    guest("signalfd_epoll", signalfd::in_epoll),
];
