//! Looks at records in the source for what a replica will not be able to follow, so that a container is refused by name before
//! anything moves.

use super::calls::FUTEX_OPERATION;
use crate::record::RecordRef;
use migrate_common::record::{Class, Kind, flags};
use migrate_common::syscalls::{self, Policy, Special};

/// Per system call number: no call of it can be objected to, whatever its arguments and its result. The recording asks for
/// every record, and nearly all are of such calls.
const ALWAYS_FOLLOWED: [bool; NUMBERS] = {
    let mut followed = [false; NUMBERS];
    let mut n = 0;
    while n < syscalls::TABLE.len() {
        let row = &syscalls::TABLE[n];
        followed[row.nr as usize] = row.select.is_none()
            && row.nr as i64 != libc::SYS_copy_file_range
            && row.nr as i64 != libc::SYS_futex
            && is_followed(row.policy);
        n += 1;
    }
    followed
};
/// Above every number of the table.
const NUMBERS: usize = 512;

/// Whether [`syscall`] has nothing against any call with this policy.
const fn is_followed(policy: Policy) -> bool {
    !matches!(policy, Policy::Refuse(_) | Policy::Special(Special::Mmap | Special::Sendfile))
}

/// The reason why a container that has made this record cannot be moved; `None` for nearly all.
#[must_use]
pub fn objection(record: RecordRef<'_>) -> Option<String> {
    let head = &record.head;
    if head.kind == Kind::Syscall as u8
        && usize::try_from(head.nr).is_ok_and(|nr| ALWAYS_FOLLOWED.get(nr).is_some_and(|&followed| followed))
    {
        return None;
    }
    match record.kind()? {
        Kind::Exec if head.args[0] != 1 => {
            Some("it started a program whose addresses are random: set-user-id, or personality(2)".to_owned())
        }
        Kind::Syscall if i64::from(head.nr) == libc::SYS_futex && head.ret != -i64::from(libc::ENOSYS) => futex(&head.args),
        Kind::Syscall if head.ret >= 0 => syscall(record),
        _ => None,
    }
}

fn syscall(record: RecordRef<'_>) -> Option<String> {
    let head = &record.head;
    let Some(row) = syscalls::row(head.nr) else {
        return Some(format!("it made system call {}, which is not known", head.nr));
    };
    match row.resolve(&head.args).0 {
        Policy::Refuse(why) => {
            let which = row.select.as_ref().map_or_else(String::new, |select| format!(" {:#x}", head.args[select.arg as usize]));
            Some(format!("it used {}{which}: {why}", row.name))
        }
        Policy::Special(Special::Mmap)
            if head.args[3] & libc::MAP_ANONYMOUS as u64 == 0 && !matches!(record.class(), Class::OwnFile | Class::Char) =>
        {
            Some("it mapped a file that is not of the container's own file system".to_owned())
        }
        // Into a pipe it may be followed: the replica refuses it only where the pipe is the container's output.
        Policy::Special(Special::Sendfile) if record.class() == Class::OwnFile => foreign_source(record),
        _ if i64::from(head.nr) == libc::SYS_copy_file_range => foreign_source(record),
        _ => None,
    }
}

/// Bytes that went from one file to another without passing through memory: the replica must have them.
fn foreign_source(record: RecordRef<'_>) -> Option<String> {
    let head = &record.head;
    (head.ret > 0 && head.flags & flags::FROM_OWN == 0)
        .then(|| "it copied a file that is not of the container's own file system without reading it".to_owned())
}

/// Operations that make the kernel write to the futex, or to another, in the middle of a call, at a moment that no record tells.
/// FUTEX_WAKE_OP does not wait: what it wrote is in its record.
fn futex(args: &[u64; 6]) -> Option<String> {
    // include/uapi/linux/futex.h; the upper bits are flags.
    let name = match args[1] & FUTEX_OPERATION {
        6 => "FUTEX_LOCK_PI",
        7 => "FUTEX_UNLOCK_PI",
        8 => "FUTEX_TRYLOCK_PI",
        11 => "FUTEX_WAIT_REQUEUE_PI",
        12 => "FUTEX_CMP_REQUEUE_PI",
        13 => "FUTEX_LOCK_PI2",
        _ => return None,
    };
    Some(format!("it used {name}: the kernel writes to the futex in the middle of the call"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_common::record::Header;
    use proptest::prelude::*;

    fn call(nr: i64, args: [u64; 6], ret: i64) -> RecordRef<'static> {
        let head = Header { len: 96, kind: Kind::Syscall as u8, nr: nr as i32, args, ret, ..Header::default() };
        RecordRef { head, payload: &[] }
    }

    proptest! {
        #[test]
        fn a_call_that_is_always_followed_is_never_objected_to(
            nr in 0i64..NUMBERS as i64, args in any::<[u64; 6]>(), ret in 0i64..5, class in 0u8..=10, head_flags in any::<u16>()
        ) {
            let mut record = call(nr, args, ret);
            (record.head.class, record.head.flags) = (class, head_flags);
            prop_assert!(!ALWAYS_FOLLOWED[nr as usize] || syscall(record).is_none(), "call {nr}: {:?}", syscall(record));
        }
    }

    #[test]
    fn what_a_server_does_for_a_request_is_always_followed() {
        for nr in [libc::SYS_read, libc::SYS_write, libc::SYS_epoll_wait, libc::SYS_accept4, libc::SYS_close, libc::SYS_openat] {
            assert!(ALWAYS_FOLLOWED[nr as usize], "call {nr}");
        }
    }

    #[test]
    fn a_refused_call_is_named_once_it_succeeded() {
        let why = objection(call(libc::SYS_ptrace, [0; 6], 0)).unwrap();
        assert!(why.contains("ptrace"), "{why}");
        assert_eq!(objection(call(libc::SYS_ptrace, [0; 6], -1)), None);
        assert_eq!(objection(call(libc::SYS_getpid, [0; 6], 1)), None);
    }

    #[test]
    fn a_choice_without_a_row_is_named_with_its_value() {
        let why = objection(call(libc::SYS_ioctl, [3, 0x1234, 0, 0, 0, 0], 0)).unwrap();
        assert!(why.contains("ioctl 0x1234"), "{why}");
        assert_eq!(objection(call(libc::SYS_ioctl, [3, 0x5421, 0, 0, 0, 0], 0)), None);
    }

    #[test]
    fn a_copy_inside_the_kernel_needs_a_source_of_the_containers_own() {
        let mut copy = call(libc::SYS_sendfile, [4, 3, 0, 100, 0, 0], 100);
        copy.head.class = Class::OwnFile as u8;
        assert!(objection(copy).unwrap().contains("without reading"));
        copy.head.flags = flags::FROM_OWN;
        assert_eq!(objection(copy), None);
        copy.head.flags = 0;
        copy.head.class = Class::Inet as u8;
        assert_eq!(objection(copy), None);
    }

    #[test]
    fn a_futex_that_the_kernel_writes_to_is_named_by_its_operation_whatever_the_flags() {
        let futex = |op, ret| objection(call(libc::SYS_futex, [0x1000, op, 0, 0, 0, 0], ret));
        assert_eq!((futex(0, 0), futex(128 | 1, 1), futex(9 | 256, -110)), (None, None, None));
        assert!(futex(6 | 128, 0).unwrap().contains("FUTEX_LOCK_PI:"));
        assert!(futex(11, -110).unwrap().contains("FUTEX_WAIT_REQUEUE_PI"));
        assert_eq!(futex(6, -38), None, "this kernel has none");
    }
}
