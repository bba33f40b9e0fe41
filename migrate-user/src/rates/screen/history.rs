//! Rates of the last intervals, for the trend lines.

use super::rows::{Column, Rates};
use crate::rates::sample::{Sample, Target};
use std::collections::{HashMap, VecDeque};

/// Intervals that are kept.
const INTERVALS: usize = 240;

/// The last intervals of the containers that are still measured.
#[derive(Debug, Default)]
pub(super) struct History {
    containers: HashMap<Target, VecDeque<Point>>,
}

#[derive(Debug)]
struct Point {
    total: Rates,
    /// Events per second, by group.
    groups: Vec<(String, f64)>,
}

impl History {
    pub(super) fn push(&mut self, samples: &[Sample]) {
        self.containers.retain(|target, _| samples.iter().any(|sample| &sample.container == target));
        for sample in samples {
            let points = self.containers.entry(sample.container.clone()).or_default();
            if points.len() == INTERVALS {
                points.pop_front();
            }
            let groups = sample.groups.iter().map(|group| (group.group.clone(), sample.per_second(group.amounts.events)));
            points.push_back(Point { total: Rates::of(sample, &sample.total), groups: groups.collect() });
        }
    }

    /// The oldest first.
    pub(super) fn of_container(&self, target: &Target, column: Column) -> Vec<f64> {
        let points = self.containers.get(target).into_iter().flatten();
        points.map(|point| point.total.get(column).unwrap_or(0.0)).collect()
    }

    pub(super) fn of_group(&self, target: &Target, name: &str) -> Vec<f64> {
        let points = self.containers.get(target).into_iter().flatten();
        points.map(|point| point.groups.iter().find(|(group, _)| group == name).map_or(0.0, |(_, events)| *events)).collect()
    }

    /// The sum of all containers, by interval: those that began later count from then on.
    pub(super) fn of_all(&self, column: Column) -> Vec<f64> {
        let longest = self.containers.values().map(VecDeque::len).max().unwrap_or(0);
        let mut sum = vec![0.0; longest];
        for points in self.containers.values() {
            let later = &mut sum[longest - points.len()..];
            later.iter_mut().zip(points).for_each(|(sum, point)| *sum += point.total.get(column).unwrap_or(0.0));
        }
        sum
    }
}
