//! The rows in the form that the probes read from a map.

use super::{Fd, Group, Len, Out, Policy, Row, Special, When};
use bytemuck::{Pod, Zeroable};

/// Outputs of one call at the most.
pub const MAX_OUTS: usize = 4;

/// A row, or one choice of it, for the probes. The array map of rows is indexed by number; the hash map of choices by
/// [`choice_key`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct KRow {
    /// [`krow_flags`].
    pub flags: u8,
    /// Index of the descriptor argument; 6 for the result; 0xff for none.
    pub fd: u8,
    /// Index of the choosing argument; 0xff for none.
    pub select: u8,
    /// How many of `outs` count.
    pub outs_len: u8,
    /// The [`Group`]'s number.
    pub group: u8,
    pub zero: [u8; 3],
    pub outs: [KOut; MAX_OUTS],
}
const _: () = assert!(size_of::<KRow>() == 8 * (1 + MAX_OUTS));

/// Bits of [`KRow::flags`].
pub mod krow_flags {
    /// The row exists.
    pub const PRESENT: u8 = 1;
    /// No payload where the descriptor is a file of the container's own: the replica reads it itself.
    pub const NOT_OF_OWN_FILES: u8 = 2;
    /// Of a file of the container's own the offset after the call is told, as a segment at address 0.
    pub const OFFSET: u8 = 4;
    /// The record tells the time to the nanosecond, not to the tick: the replica counts from it how much a timer has left.
    pub const EXACT_TIME: u8 = 8;
    /// An output can be written although the call failed.
    pub const FAILED: u8 = 16;
    /// The call changes nobody's descriptors.
    pub const KEEPS: u8 = 32;
    /// And all there is to it is its first argument's descriptor and one output at the most, as long as its result times the factor says.
    pub const PLAIN: u8 = 64;
}

/// An output for the probes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct KOut {
    pub arg: u8,
    /// [`len_kind`].
    pub len: u8,
    /// The argument that the length comes from.
    pub len_arg: u8,
    /// [`when_kind`].
    pub when: u8,
    /// The constant or the factor.
    pub factor: u32,
}

/// Numbers of [`Len`] in [`KOut::len`].
pub mod len_kind {
    pub const CONST: u8 = 1;
    pub const RET: u8 = 2;
    pub const ARG: u8 = 3;
    pub const DEREF: u8 = 4;
    pub const BITS: u8 = 5;
    pub const IOV: u8 = 6;
    pub const MSGHDR: u8 = 7;
    pub const MMSGHDR: u8 = 8;
    pub const PAGES: u8 = 9;
    pub const RET_CAP: u8 = 10;
    pub const RET_PLUS: u8 = 11;
}

/// Numbers of [`When`] in [`KOut::when`].
pub mod when_kind {
    pub const OK: u8 = 0;
    pub const POSITIVE: u8 = 1;
    pub const ALWAYS: u8 = 2;
    pub const WAITED: u8 = 3;

    /// Whether an output of this kind is written by a call with this result.
    #[must_use]
    #[inline(always)]
    pub const fn is_written(when: u8, ret: i64) -> bool {
        match when {
            ALWAYS => true,
            POSITIVE => ret > 0,
            WAITED => ret >= 0 || crate::syscalls::was_interrupted(ret),
            _ => ret >= 0,
        }
    }
}

/// Key of a choice in the probes' hash map.
#[must_use]
pub const fn choice_key(nr: u16, value: u32) -> u64 {
    ((nr as u64) << 32) | value as u64
}

/// Calls that change nobody's descriptors, of those that programs make most. fanotify's and userfaultfd's reads make new ones, at numbers
/// where none is.
const KEEPING: [&str; 20] = [
    "read",
    "write",
    "poll",
    "pread64",
    "pwrite64",
    "readv",
    "writev",
    "select",
    "sched_yield",
    "madvise",
    "nanosleep",
    "sendto",
    "recvfrom",
    "gettimeofday",
    "time",
    "futex",
    "clock_gettime",
    "clock_nanosleep",
    "epoll_wait",
    "epoll_pwait",
];

/// Whether [`krow_flags::PLAIN`] is true of a row whose call keeps descriptors.
fn is_plain(row: &Row) -> bool {
    let outs = matches!(row.outs, [] | [Out { len: Len::Ret(_), when: When::Positive, .. }]);
    let policy = matches!(row.policy, Policy::Inject | Policy::OwnElseInject | Policy::Output);
    outs && policy && row.fd == Fd::Arg(0) && row.select.is_none()
}

impl From<&Out> for KOut {
    fn from(out: &Out) -> Self {
        let (len, len_arg, factor) = match out.len {
            Len::Const(n) => (len_kind::CONST, 0, n),
            Len::Ret(n) => (len_kind::RET, 0, n),
            Len::Arg(arg, n) => (len_kind::ARG, arg, n),
            Len::Deref(arg) => (len_kind::DEREF, arg, 1),
            Len::Bits(arg) => (len_kind::BITS, arg, 1),
            Len::Iov(arg) => (len_kind::IOV, arg, 1),
            Len::Msghdr => (len_kind::MSGHDR, 0, 1),
            Len::Mmsghdr => (len_kind::MMSGHDR, 0, 1),
            Len::Pages(arg) => (len_kind::PAGES, arg, 1),
            Len::RetCap(arg) => (len_kind::RET_CAP, arg, 1),
            Len::RetPlus(n) => (len_kind::RET_PLUS, 0, n),
        };
        let when = match out.when {
            When::Ok => when_kind::OK,
            When::Positive => when_kind::POSITIVE,
            When::Waited => when_kind::WAITED,
            When::Always => when_kind::ALWAYS,
        };
        Self { arg: out.arg, len, len_arg, when, factor }
    }
}

impl KRow {
    /// The row itself, without its choices.
    #[must_use]
    pub fn of_row(row: &Row) -> Self {
        let mut k = Self::new(row.group, row.fd, row.policy, row.outs);
        k.select = row.select.as_ref().map_or(0xff, |select| select.arg);
        if row.moves_offset() {
            k.flags |= krow_flags::OFFSET;
        }
        if KEEPING.contains(&row.name) {
            k.flags |= krow_flags::KEEPS | if is_plain(row) { krow_flags::PLAIN } else { 0 };
        }
        k
    }

    /// One choice of a row.
    #[must_use]
    pub fn of_choice(row: &Row, choice: &super::Choice) -> Self {
        Self::new(row.group, row.fd, choice.policy, choice.outs)
    }

    fn new(group: Group, fd: Fd, policy: Policy, outs: &[Out]) -> Self {
        let mut k = Self { flags: krow_flags::PRESENT, select: 0xff, group: group as u8, ..Self::default() };
        k.fd = match fd {
            Fd::None => 0xff,
            Fd::Arg(arg) => arg,
            Fd::Ret => 6,
        };
        if policy == Policy::OwnElseInject {
            k.flags |= krow_flags::NOT_OF_OWN_FILES;
        }
        if policy == Policy::Special(Special::Timer) {
            k.flags |= krow_flags::EXACT_TIME;
        }
        if outs.iter().any(|out| matches!(out.when, When::Waited | When::Always)) {
            k.flags |= krow_flags::FAILED;
        }
        for (at, out) in k.outs.iter_mut().zip(outs) {
            *at = out.into();
        }
        #[expect(clippy::cast_possible_truncation, reason = "the table's test bounds it by MAX_OUTS")]
        {
            k.outs_len = outs.len() as u8;
        }
        k
    }
}

#[cfg(test)]
mod tests {
    use super::when_kind::{ALWAYS, OK, POSITIVE, WAITED, is_written};

    #[test]
    fn outputs_are_written_by_the_results_that_the_table_says() {
        // Some, none, EINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK, EINVAL.
        let of = |when| [1, 0, -4, -514, -516, -22].map(|ret| is_written(when, ret));
        assert_eq!(of(OK), [true, true, false, false, false, false]);
        assert_eq!(of(POSITIVE), [true, false, false, false, false, false]);
        assert_eq!(of(WAITED), [true, true, true, true, true, false]);
        assert_eq!(of(ALWAYS), [true; 6]);
    }
}
