//! Amounts by group and call.

use super::sample::{Amounts, CallSample, GroupSample, LogBytes};
use crate::record::RecordRef;
use migrate_common::record::{COMPAT_NR, Kind};
use migrate_common::syscalls::{self, Group, GroupSet};
use std::collections::BTreeMap;

/// Numbers of system calls below this have a cell of their own.
const CALLS: usize = 512;
/// What is counted beside them: a call without a row, a call through the 32-bit entry, and the kinds that are no calls.
const OTHERS: [&str; 8] = ["unknown", "32-bit", "signal", "fork", "exec", "exit", "switch", "clocks"];
const NAMES: usize = CALLS + OTHERS.len();

/// One call in one group: reads are of another group on sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell(usize);

impl Cell {
    pub(super) fn of_record(record: RecordRef<'_>) -> Self {
        let head = &record.head;
        Self::of_row(record.kind().unwrap_or(Kind::Piece), head.nr, Group::of_record(head))
    }

    /// Of what the kernel counted.
    pub(super) fn of_row(kind: Kind, nr: i32, group: Group) -> Self {
        let name = match kind {
            Kind::Syscall => name_of(nr),
            Kind::Signal => CALLS + 2,
            Kind::Fork => CALLS + 3,
            Kind::Exec | Kind::Image => CALLS + 4,
            Kind::Exit => CALLS + 5,
            Kind::Switch | Kind::Resume => CALLS + 6,
            Kind::Clocks => CALLS + 7,
            Kind::Piece => CALLS,
        };
        Self::new(name, group)
    }

    fn new(name: usize, group: Group) -> Self {
        Self(name * Group::ALL.len() + group as usize)
    }

    fn name(self) -> String {
        let name = self.0 / Group::ALL.len();
        match name.checked_sub(CALLS) {
            Some(other) => OTHERS[other].to_owned(),
            None => i32::try_from(name)
                .ok()
                .and_then(syscalls::row)
                .map_or_else(|| format!("syscall_{name}"), |row| row.name.to_owned()),
        }
    }

    fn group(self) -> Group {
        Group::ALL[self.0 % Group::ALL.len()]
    }
}

fn name_of(nr: i32) -> usize {
    match usize::try_from(nr) {
        Ok(nr) if nr < CALLS => nr,
        _ if nr >= COMPAT_NR => CALLS + 1,
        _ => CALLS,
    }
}

/// Amounts of every cell, and the cells of the chunk that is being collected.
#[derive(Debug)]
pub(super) struct Tallies {
    cells: Vec<Amounts>,
    /// Encoded bytes of the chunk that is open, by cell.
    open: BTreeMap<Cell, u64>,
}

impl Default for Tallies {
    fn default() -> Self {
        Self { cells: vec![Amounts::default(); NAMES * Group::ALL.len()], open: BTreeMap::new() }
    }
}

impl Tallies {
    /// Counts a record that took `encoded_bytes` in the open chunk.
    pub(super) fn record(&mut self, record: RecordRef<'_>, encoded_bytes: u64) {
        let cell = Cell::of_record(record);
        let input_bytes = record.segments().map(|segment| segment.bytes.len() as u64).sum();
        let log = LogBytes { raw_bytes: record.len_bytes() as u64, encoded_bytes, zstd_bytes: 0 };
        self.cells[cell.0] += Amounts { events: 1, input_bytes, log: Some(log) };
        *self.open.entry(cell).or_default() += encoded_bytes;
    }

    /// The open chunk takes `stored_bytes` on the wire.
    pub(super) fn sealed(&mut self, stored_bytes: u64) {
        let open = std::mem::take(&mut self.open);
        let weights: Vec<u64> = open.values().copied().collect();
        for (cell, bytes) in open.keys().zip(apportion(stored_bytes, &weights)) {
            self.cells[cell.0] +=
                Amounts { log: Some(LogBytes { zstd_bytes: bytes, ..LogBytes::default() }), ..Amounts::default() };
        }
    }

    /// What was counted, by group, of these groups; nothing of it is left.
    pub(super) fn take(&mut self, groups: GroupSet, captured: bool) -> Vec<GroupSample> {
        let cells = std::mem::replace(&mut self.cells, vec![Amounts::default(); NAMES * Group::ALL.len()]);
        let counted = cells.into_iter().enumerate().filter(|(_, amounts)| amounts.events > 0);
        by_group(counted.map(|(n, amounts)| (Cell(n), amounts)), groups, captured)
    }
}

/// Amounts of calls that the kernel counted.
pub(super) fn of_counts(rows: impl Iterator<Item = (Cell, Amounts)>, groups: GroupSet) -> Vec<GroupSample> {
    by_group(rows, groups, false)
}

fn by_group(cells: impl Iterator<Item = (Cell, Amounts)>, groups: GroupSet, captured: bool) -> Vec<GroupSample> {
    let zero = Amounts { log: captured.then(LogBytes::default), ..Amounts::default() };
    let sample = |group: Group| GroupSample { group: group.name().to_owned(), amounts: zero, calls: Vec::new() };
    let mut samples: BTreeMap<usize, GroupSample> = Group::ALL
        .into_iter()
        .enumerate()
        .filter(|(_, group)| groups.contains(*group))
        .map(|(n, group)| (n, sample(group)))
        .collect();
    for (cell, amounts) in cells.filter(|(_, amounts)| amounts.events > 0) {
        let group = cell.group();
        // Events of a group that nobody asked for are there only if the programs do not tell groups apart.
        let Some(sample) = samples.get_mut(&(group as usize)) else { continue };
        sample.amounts += amounts;
        sample.calls.push(CallSample { call: cell.name(), amounts });
    }
    let mut samples: Vec<GroupSample> = samples.into_values().collect();
    for sample in &mut samples {
        sample.calls.sort_by(|a, b| b.amounts.events.cmp(&a.amounts.events).then_with(|| a.call.cmp(&b.call)));
    }
    samples
}

/// `total` in parts that are in the ratio of `weights` and add up to it exactly: what rounding leaves goes to the parts that
/// lost most by it. All of it is in the first part where no weight is above 0; no weights, no parts.
fn apportion(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if sum == 0 {
        return weights.iter().enumerate().map(|(n, _)| if n == 0 { total } else { 0 }).collect();
    }
    let product = |weight: u64| u128::from(total) * u128::from(weight);
    let mut parts: Vec<u64> = weights.iter().map(|&weight| u64::try_from(product(weight) / sum).unwrap_or(u64::MAX)).collect();
    let left = total - parts.iter().sum::<u64>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|&n| std::cmp::Reverse(product(weights[n]) % sum));
    for &n in by_remainder.iter().cycle().take(usize::try_from(left).unwrap_or(0)) {
        parts[n] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use migrate_common::record::{Class, Header};
    use proptest::prelude::*;

    fn call(nr: libc::c_long, class: Class, bytes: &[u8]) -> Record {
        let nr = i32::try_from(nr).unwrap();
        let head = Header { kind: Kind::Syscall as u8, nr, class: class as u8, len: 96, ..Header::default() };
        let mut record = Record { head, payload: Vec::new() };
        if !bytes.is_empty() {
            record.push_segment(0x1000, bytes);
        }
        record
    }

    proptest! {
        #[test]
        fn parts_add_up_and_none_is_off_by_one_or_more(total in 0..1_u64 << 40, weights in prop::collection::vec(0..1_u64 << 40, 1..50)) {
            let parts = apportion(total, &weights);
            prop_assert_eq!(parts.iter().sum::<u64>(), total);
            let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
            for (part, weight) in parts.iter().zip(&weights).filter(|_| sum > 0) {
                let exact = u128::from(total) * u128::from(*weight);
                prop_assert!((u128::from(*part) * sum).abs_diff(exact) <= sum);
            }
        }
    }

    #[test]
    fn a_chunk_without_weight_is_still_counted() {
        assert_eq!(apportion(7, &[0, 0]), [7, 0]);
        assert_eq!(apportion(7, &[]), [] as [u64; 0]);
    }

    #[test]
    fn a_read_of_a_socket_is_received_and_a_chunk_s_bytes_are_shared_out() {
        let mut tallies = Tallies::default();
        tallies.record(call(libc::SYS_read, Class::Pipe, b"12345").as_ref(), 30);
        tallies.record(call(libc::SYS_read, Class::Inet, b"1").as_ref(), 10);
        tallies.record(call(i64::from(COMPAT_NR) + 20, Class::None, &[]).as_ref(), 0);
        tallies.sealed(100);
        let samples = tallies.take(GroupSet::ALL, true);
        assert_eq!(samples.len(), Group::ALL.len());
        let of = |group: Group| samples.iter().find(|sample| sample.group == group.name()).unwrap();
        let read = of(Group::Read);
        assert_eq!((read.amounts.events, read.amounts.input_bytes, read.calls[0].call.as_str()), (1, 5, "read"));
        let log = LogBytes { raw_bytes: 96 + 16 + 8, encoded_bytes: 30, zstd_bytes: 75 };
        assert_eq!((read.amounts.log, read.calls[0].amounts.log), (Some(log), Some(log)));
        assert_eq!((of(Group::Receive).amounts.log.unwrap().zstd_bytes, of(Group::Receive).amounts.input_bytes), (25, 1));
        assert_eq!(of(Group::Other).calls[0].call, "32-bit");
        assert_eq!(of(Group::Time).amounts, Amounts { log: Some(LogBytes::default()), ..Amounts::default() });
        assert!(tallies.take(GroupSet::ALL, true).iter().all(|sample| sample.amounts.events == 0));
    }

    #[test]
    fn only_the_groups_that_were_asked_for_are_shown_and_calls_with_most_events_first() {
        let amounts = |events| Amounts { events, ..Amounts::default() };
        let cell = |nr: libc::c_long, group| Cell::of_row(Kind::Syscall, i32::try_from(nr).unwrap(), group);
        let rows = [
            (cell(libc::SYS_read, Group::Read), amounts(1)),
            (cell(libc::SYS_pread64, Group::Read), amounts(2)),
            (cell(libc::SYS_futex, Group::Other), amounts(3)),
        ];
        let samples = of_counts(rows.into_iter(), [Group::Read].into_iter().collect());
        assert_eq!(samples.len(), 1);
        assert_eq!(samples[0].calls.iter().map(|call| call.call.as_str()).collect::<Vec<_>>(), ["pread64", "read"]);
        assert_eq!((samples[0].amounts.events, samples[0].amounts.log), (3, None));
    }
}
