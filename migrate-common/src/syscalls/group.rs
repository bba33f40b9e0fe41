//! What system calls are for: the kinds of input that people ask about when they ask what logging costs.

use super::row;
use crate::record::{Class, Header, Kind};

/// What a call is for. Each row of the table names one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Reads bytes of a descriptor that is no socket.
    Read = 0,
    /// Takes bytes or connections from a socket.
    Receive = 1,
    /// Asks for the time, sleeps, or sets a timer.
    Time = 2,
    /// Asks for random numbers.
    Random = 3,
    /// Sends, takes, masks or handles signals, and the signals themselves.
    Signal = 4,
    /// Waits for one of many descriptors: the poll, select and epoll families.
    Poll = 5,
    /// Names, attributes, descriptors and control of files.
    File = 6,
    /// Makes, ends, waits for, identifies or limits processes.
    Process = 7,
    /// Everything else: output, memory, locks, the setup of sockets.
    Other = 8,
}

impl Group {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 9] =
        [Self::Read, Self::Receive, Self::Time, Self::Random, Self::Signal, Self::Poll, Self::File, Self::Process, Self::Other];

    /// One lower-case word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Receive => "receive",
            Self::Time => "time",
            Self::Random => "random",
            Self::Signal => "signal",
            Self::Poll => "poll",
            Self::File => "file",
            Self::Process => "process",
            Self::Other => "other",
        }
    }

    /// Of the call `nr` on a descriptor of this class: a read of a socket is [`Group::Receive`], whatever the call. A number
    /// without a row is [`Group::Other`].
    #[must_use]
    pub fn of(nr: i32, class: Class) -> Self {
        row(nr).map_or(Self::Other, |row| row.group.on(class))
    }

    /// Of a record: [`Group::of`] a system call; [`Group::Signal`] of a signal, [`Group::Process`] of what else happens to tasks.
    #[must_use]
    pub fn of_record(head: &Header) -> Self {
        match Kind::from_u8(head.kind) {
            Some(Kind::Syscall) => Self::of(head.nr, Class::from_u8(head.class).unwrap_or(Class::None)),
            Some(Kind::Clocks) => Self::Time,
            Some(Kind::Signal) => Self::Signal,
            Some(Kind::Fork | Kind::Exec | Kind::Exit | Kind::Image | Kind::Switch | Kind::Resume) => Self::Process,
            Some(Kind::Piece) | None => Self::Other,
        }
    }

    /// A row's group on a descriptor of this class.
    #[must_use]
    pub fn on(self, class: Class) -> Self {
        if self == Self::Read && class.is_socket() { Self::Receive } else { self }
    }

    /// This group's bit in a [`GroupSet`].
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Some of the groups: a bit each, by their number.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSet(u32);

impl GroupSet {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every group.
    pub const ALL: Self = Self((1 << Group::ALL.len()) - 1);

    /// The same and this one.
    #[must_use]
    pub const fn with(self, group: Group) -> Self {
        Self(self.0 | group.bit())
    }

    /// The same without this one.
    #[must_use]
    pub const fn without(self, group: Group) -> Self {
        Self(self.0 & !group.bit())
    }

    /// Whether the group is among them.
    #[must_use]
    pub const fn contains(self, group: Group) -> bool {
        self.0 & group.bit() != 0
    }

    /// The bits, as the probes have them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromIterator<Group> for GroupSet {
    fn from_iter<T: IntoIterator<Item = Group>>(groups: T) -> Self {
        groups.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list() {
        for (n, group) in Group::ALL.into_iter().enumerate() {
            assert_eq!(group as usize, n);
            assert!(GroupSet::ALL.contains(group) && !GroupSet::ALL.without(group).contains(group));
        }
    }

    #[test]
    fn a_read_of_a_socket_is_a_receive_and_a_receive_of_anything_stays_one() {
        let (read, recvfrom) = (0, 45);
        assert_eq!(Group::of(read, Class::Pipe), Group::Read);
        assert_eq!(Group::of(read, Class::Inet), Group::Receive);
        assert_eq!(Group::of(recvfrom, Class::None), Group::Receive);
        assert_eq!(Group::of(crate::record::COMPAT_NR + read, Class::Inet), Group::Other);
    }

    #[test]
    fn a_record_without_a_call_belongs_to_what_happened() {
        let of = |kind: Kind| Group::of_record(&Header { kind: kind as u8, nr: 228, ..Header::default() });
        assert_eq!(of(Kind::Syscall), Group::Time);
        assert_eq!(of(Kind::Signal), Group::Signal);
        assert_eq!(of(Kind::Fork), Group::Process);
    }
}
