//! The table's rows and columns.

use super::history::History;
use crate::rates::sample::{Amounts, CallSample, Sample, Target};
use std::cmp::Ordering;

/// A column, which is also a key to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Events,
    Input,
    Raw,
    Encoded,
    Zstd,
    Dirty,
}

impl Column {
    pub(super) const ALL: [Self; 7] = [Self::Name, Self::Events, Self::Input, Self::Raw, Self::Encoded, Self::Zstd, Self::Dirty];

    /// What is pressed to sort by it.
    pub(super) const fn key(self) -> char {
        match self {
            Self::Name => 'n',
            Self::Events => 'e',
            Self::Input => 'b',
            Self::Raw => 'w',
            Self::Encoded => 'c',
            Self::Zstd => 'z',
            Self::Dirty => 'd',
        }
    }

    pub(super) fn by_key(key: char) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.key() == key)
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Name => "",
            Self::Events => "EVENTS/s",
            Self::Input => "INPUT/s",
            Self::Raw => "RAW/s",
            Self::Encoded => "ENCODED/s",
            Self::Zstd => "ZSTD/s",
            Self::Dirty => "DIRTY/s",
        }
    }

    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Events => "records that a migration would log",
            Self::Input => "bytes that the kernel gave to the container",
            Self::Raw => "log as the eBPF programs emit it",
            Self::Encoded => "log in its compact form",
            Self::Zstd => "log compressed: what a link must carry",
            Self::Dirty => "bytes of pages written: what copying pages must beat",
        }
    }
}

/// Rates of one row, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub events: f64,
    pub input: f64,
    /// Raw, compact, zstd; none where events are only counted.
    pub log: Option<[f64; 3]>,
    pub dirty: Option<f64>,
}

impl Rates {
    pub(super) fn of(sample: &Sample, amounts: &Amounts) -> Self {
        let rate = |count| sample.per_second(count);
        Self {
            events: rate(amounts.events),
            input: rate(amounts.input_bytes),
            log: amounts.log.map(|log| [rate(log.raw_bytes), rate(log.encoded_bytes), rate(log.zstd_bytes)]),
            dirty: None,
        }
    }

    pub(super) fn get(&self, column: Column) -> Option<f64> {
        match column {
            Column::Name => None,
            Column::Events => Some(self.events),
            Column::Input => Some(self.input),
            Column::Raw => self.log.map(|log| log[0]),
            Column::Encoded => self.log.map(|log| log[1]),
            Column::Zstd => self.log.map(|log| log[2]),
            Column::Dirty => self.dirty,
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Tells it from the others of its view.
    pub key: String,
    pub name: String,
    /// Of a container's row.
    pub target: Option<Target>,
    pub rates: Rates,
    /// Events per second, the oldest first.
    pub trend: Vec<f64>,
    pub lossy: bool,
}

/// Two containers may have one name.
pub(super) fn key_of(target: &Target) -> String {
    format!("{} {} {}", target.name, target.id, target.cgroup)
}

pub(super) fn of_containers(samples: &[Sample], history: &History) -> Vec<Row> {
    let rows = samples.iter().map(|sample| {
        let dirty = sample.dirty.map(|dirty| sample.per_second(dirty.bytes));
        Row {
            key: key_of(&sample.container),
            name: sample.container.name.clone(),
            target: Some(sample.container.clone()),
            rates: Rates { dirty, ..Rates::of(sample, &sample.total) },
            trend: history.of_container(&sample.container, Column::Events),
            lossy: !sample.lost.none(),
        }
    });
    rows.collect()
}

pub(super) fn of_groups(sample: &Sample, history: &History) -> Vec<Row> {
    let rows = sample.groups.iter().map(|group| Row {
        key: group.group.clone(),
        name: group.group.clone(),
        target: None,
        rates: Rates::of(sample, &group.amounts),
        trend: history.of_group(&sample.container, &group.group),
        lossy: false,
    });
    rows.collect()
}

pub(super) fn of_calls(sample: &Sample, group: Option<&str>) -> Vec<Row> {
    let groups = sample.groups.iter().filter(|known| group.is_none_or(|wanted| known.group == wanted));
    let row = |group: &str, call: &CallSample| Row {
        key: format!("{group} {}", call.call),
        name: call.call.clone(),
        target: None,
        rates: Rates::of(sample, &call.amounts),
        trend: Vec::new(),
        lossy: false,
    };
    groups.flat_map(|group| group.calls.iter().map(move |call| row(&group.group, call))).collect()
}

/// The largest first, names from A; rows without the number last.
pub(super) fn sort(rows: &mut [Row], by: Column, reversed: bool) {
    rows.sort_by(|a, b| {
        let order = match (a.rates.get(by), b.rates.get(by)) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => a.name.cmp(&b.name),
        };
        let order = if reversed { order.reverse() } else { order };
        order.then_with(|| a.name.cmp(&b.name))
    });
}
