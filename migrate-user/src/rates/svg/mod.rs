//! `--plot FILE.svg`: rates over time. Above events, stacked by group; below the log's bytes at each step, and dirty pages'
//! where they were measured. All containers that are measured are added up.

mod page;
mod scale;
#[cfg(test)]
mod tests;

use super::output::{OutputError, replace};
use super::sample::{LogBytes, Sample};
use std::path::Path;
use std::time::{Duration, Instant};

/// Points that are drawn at most; with more, neighbours become one.
const POINTS: usize = 480;
/// How often the file is written on the way, at most.
const EVERY: Duration = Duration::from_secs(5);

/// What has been measured so far.
#[derive(Debug, Default)]
pub struct Plot {
    names: Vec<String>,
    groups: Vec<String>,
    points: Vec<Point>,
    /// Intervals that a point holds.
    merged: usize,
    /// Those that the last point holds.
    in_last: usize,
    written: Option<Instant>,
}

/// Counts of some time.
#[derive(Clone, Debug, Default, PartialEq)]
struct Point {
    seconds: f64,
    /// By group, in [`Plot::groups`]' order.
    events: Vec<u64>,
    log: Option<LogBytes>,
    dirty_bytes: Option<u64>,
    lost: u64,
}

impl Plot {
    /// Adds an interval: one sample of every container that is measured.
    pub fn push(&mut self, samples: &[Sample]) {
        let Some(longest_ns) = samples.iter().map(|sample| sample.interval_ns).max() else { return };
        let mut point = Point { seconds: Duration::from_nanos(longest_ns).as_secs_f64(), ..Point::default() };
        for sample in samples {
            if !self.names.contains(&sample.container.name) {
                self.names.push(sample.container.name.clone());
            }
            for group in &sample.groups {
                let at = self.group(&group.group);
                point.events.resize(point.events.len().max(at + 1), 0);
                point.events[at] += group.amounts.events;
            }
            point.log = sum_log(point.log, sample.total.log);
            point.dirty_bytes = sum(point.dirty_bytes, sample.dirty.map(|dirty| dirty.bytes));
            point.lost += sample.lost.total() - sample.lost.missed_runs;
        }
        point.lost += samples.iter().map(|sample| sample.lost.missed_runs).max().unwrap_or(0);
        self.add(point);
    }

    fn add(&mut self, point: Point) {
        self.merged = self.merged.max(1);
        match self.points.last_mut() {
            Some(last) if self.in_last < self.merged => {
                last.merge(&point);
                self.in_last += 1;
            }
            _ => {
                self.points.push(point);
                self.in_last = 1;
            }
        }
        if self.points.len() > POINTS && self.in_last == self.merged {
            let halves = self.points.chunks(2).map(|pair| {
                let mut one = pair[0].clone();
                pair[1..].iter().for_each(|other| one.merge(other));
                one
            });
            let alone = self.points.len() % 2 == 1;
            self.points = halves.collect();
            self.in_last = if alone { self.merged } else { 2 * self.merged };
            self.merged *= 2;
        }
    }

    fn group(&mut self, name: &str) -> usize {
        self.groups.iter().position(|known| known == name).unwrap_or_else(|| {
            self.groups.push(name.to_owned());
            self.groups.len() - 1
        })
    }

    /// The picture, as a whole file.
    #[must_use]
    pub fn svg(&self) -> String {
        page::draw(self)
    }

    /// Puts the picture in the place of the file, as one that is read is always whole.
    ///
    /// # Errors
    /// [`OutputError::Write`].
    pub fn write(&mut self, path: &Path) -> Result<(), OutputError> {
        self.written = Some(Instant::now());
        replace(path, self.svg().as_bytes()).map(drop)
    }

    /// As [`Plot::write`], unless the file was written a moment ago: for every interval on the way.
    ///
    /// # Errors
    /// [`OutputError::Write`].
    pub fn write_on_the_way(&mut self, path: &Path) -> Result<(), OutputError> {
        if self.written.is_some_and(|written| written.elapsed() < EVERY) { Ok(()) } else { self.write(path) }
    }
}

impl Point {
    fn merge(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.events.resize(self.events.len().max(other.events.len()), 0);
        self.events.iter_mut().zip(&other.events).for_each(|(sum, events)| *sum += events);
        self.log = sum_log(self.log, other.log);
        self.dirty_bytes = sum(self.dirty_bytes, other.dirty_bytes);
        self.lost += other.lost;
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for a picture")]
    fn rate(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (one, other) => one.or(other),
    }
}

fn sum_log(a: Option<LogBytes>, b: Option<LogBytes>) -> Option<LogBytes> {
    match (a, b) {
        (Some(a), Some(b)) => Some(LogBytes {
            raw_bytes: a.raw_bytes + b.raw_bytes,
            encoded_bytes: a.encoded_bytes + b.encoded_bytes,
            zstd_bytes: a.zstd_bytes + b.zstd_bytes,
        }),
        (one, other) => one.or(other),
    }
}
