//! A log's records, by group of system calls.

use crate::record::RecordRef;
use migrate_common::record::{Class, Kind};
use migrate_common::syscalls::Group;

/// Numbers of calls that are told apart; calls beyond have no row in the table.
const CALLS: usize = 512;
const GROUPS: usize = Group::ALL.len();

/// Counts of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCount {
    pub records: u64,
    /// Bytes that the kernel gave to the container's tasks.
    pub input_bytes: u64,
}

/// Counts of all groups, in the order of [`Group::ALL`].
pub type GroupCounts = [GroupCount; GROUPS];

/// Counts by call, which asks nothing of the table for each record: the groups are looked up when somebody wants the sums.
#[derive(Debug)]
pub(super) struct Counts {
    /// On what is no socket, and on sockets.
    calls: Box<[[GroupCount; 2]; CALLS]>,
    others: GroupCounts,
}

impl Default for Counts {
    fn default() -> Self {
        Self { calls: Box::new([[GroupCount::default(); 2]; CALLS]), others: GroupCounts::default() }
    }
}

impl Counts {
    pub(super) fn count(&mut self, record: RecordRef<'_>) {
        let head = &record.head;
        let call = usize::try_from(head.nr).ok().filter(|_| record.kind() == Some(Kind::Syscall));
        let count = match call.and_then(|nr| self.calls.get_mut(nr)) {
            Some(call) => &mut call[usize::from(record.class().is_socket())],
            None => &mut self.others[Group::of_record(head) as usize],
        };
        count.records += 1;
        count.input_bytes += record.segments().map(|segment| segment.bytes.len() as u64).sum::<u64>();
    }

    pub(super) fn by_group(&self) -> GroupCounts {
        let mut sums = self.others;
        for (nr, call) in (0..).zip(self.calls.iter()) {
            for (class, count) in [Class::None, Class::Inet].into_iter().zip(call) {
                if count.records > 0 {
                    let sum = &mut sums[Group::of(nr, class) as usize];
                    sum.records += count.records;
                    sum.input_bytes += count.input_bytes;
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use migrate_common::record::Header;

    fn record(kind: Kind, nr: i32, class: Class) -> Record {
        let mut record = Record { head: Header { nr, ..Header::default() }, payload: Vec::new() };
        record.head.kind = kind as u8;
        record.head.class = class as u8;
        record
    }

    #[test]
    fn each_record_counts_in_the_group_that_the_table_says() {
        let mut counts = Counts::default();
        let records = [
            record(Kind::Syscall, 0, Class::None),
            record(Kind::Syscall, 0, Class::Inet),
            record(Kind::Syscall, 0, Class::Inet),
            record(Kind::Syscall, 228, Class::None),
            record(Kind::Syscall, -1, Class::None),
            record(Kind::Syscall, 100_000, Class::None),
            record(Kind::Signal, 0, Class::None),
            record(Kind::Fork, 0, Class::None),
        ];
        records.iter().for_each(|record| counts.count(record.as_ref()));
        let sums = counts.by_group();
        for group in Group::ALL {
            let wanted = records.iter().filter(|record| Group::of_record(&record.head) == group).count() as u64;
            assert_eq!(sums[group as usize].records, wanted, "{}", group.name());
        }
        assert_eq!((sums[Group::Receive as usize].records, sums[Group::Time as usize].records), (2, 1));
    }
}
