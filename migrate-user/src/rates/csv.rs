//! `--csv FILE`: a row an interval and container, one for each of its groups, and one for each of their calls.
//!
//! The file is there, with its header, from the start; each interval is one `write(2)` at its end, so that a reader never sees
//! a part of one, and a measurement that is killed leaves what it measured.

use super::output::{OutputError, replace};
use super::sample::{Amounts, Mode, Sample};
use serde::Serialize;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A row's columns. Counts are of the interval.
const HEADER: [&str; 29] = [
    "at_unix_ms",
    "elapsed_ns",
    "interval_ns",
    "container",
    "container_id",
    "cgroup",
    "mode",
    "level",
    "group",
    "call",
    "events",
    "input_bytes",
    "raw_bytes",
    "encoded_bytes",
    "zstd_bytes",
    "lost_ring_full",
    "lost_too_large",
    "lost_faults",
    "lost_missed_runs",
    "lost_unexplained",
    "dirty_pages",
    "dirty_bytes",
    "program_runs",
    "program_run_time_ns",
    "ring_bytes",
    "ring_high_water_bytes",
    "agent_cpu_ns",
    "predicted_log_down_ns",
    "predicted_pages_down_ns",
];

/// What a row is about: rows of one level add up to those of the level before.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Container,
    Group,
    Call,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    at_unix_ms: u64,
    elapsed_ns: u64,
    interval_ns: u64,
    container: &'a str,
    container_id: &'a str,
    cgroup: &'a str,
    mode: Mode,
    level: Level,
    group: &'a str,
    call: &'a str,
    events: u64,
    input_bytes: u64,
    raw_bytes: Option<u64>,
    encoded_bytes: Option<u64>,
    zstd_bytes: Option<u64>,
    // Of the container's own row alone.
    lost_ring_full: Option<u64>,
    lost_too_large: Option<u64>,
    lost_faults: Option<u64>,
    lost_missed_runs: Option<u64>,
    lost_unexplained: Option<u64>,
    dirty_pages: Option<u64>,
    dirty_bytes: Option<u64>,
    program_runs: Option<u64>,
    program_run_time_ns: Option<u64>,
    ring_bytes: Option<u64>,
    ring_high_water_bytes: Option<u64>,
    agent_cpu_ns: Option<u64>,
    predicted_log_down_ns: Option<u64>,
    predicted_pages_down_ns: Option<u64>,
}

impl<'a> Row<'a> {
    fn new(sample: &'a Sample, level: Level, group: &'a str, call: &'a str, amounts: Amounts) -> Self {
        Self {
            at_unix_ms: sample.at_unix_ms,
            elapsed_ns: sample.elapsed_ns,
            interval_ns: sample.interval_ns,
            container: &sample.container.name,
            container_id: &sample.container.id,
            cgroup: &sample.container.cgroup,
            mode: sample.mode,
            level,
            group,
            call,
            events: amounts.events,
            input_bytes: amounts.input_bytes,
            raw_bytes: amounts.log.map(|log| log.raw_bytes),
            encoded_bytes: amounts.log.map(|log| log.encoded_bytes),
            zstd_bytes: amounts.log.map(|log| log.zstd_bytes),
            lost_ring_full: None,
            lost_too_large: None,
            lost_faults: None,
            lost_missed_runs: None,
            lost_unexplained: None,
            dirty_pages: None,
            dirty_bytes: None,
            program_runs: None,
            program_run_time_ns: None,
            ring_bytes: None,
            ring_high_water_bytes: None,
            agent_cpu_ns: None,
            predicted_log_down_ns: None,
            predicted_pages_down_ns: None,
        }
    }

    fn of_container(sample: &'a Sample) -> Self {
        let (lost, recorder) = (sample.lost, &sample.recorder);
        let counted = !recorder.programs.is_empty();
        let prediction = sample.prediction.as_ref();
        Self {
            lost_ring_full: Some(lost.ring_full),
            lost_too_large: Some(lost.too_large),
            lost_faults: Some(lost.faults),
            lost_missed_runs: Some(lost.missed_runs),
            lost_unexplained: Some(lost.unexplained),
            dirty_pages: sample.dirty.map(|dirty| dirty.pages),
            dirty_bytes: sample.dirty.map(|dirty| dirty.bytes),
            program_runs: counted.then(|| recorder.programs.iter().map(|program| program.runs).sum()),
            program_run_time_ns: counted.then(|| recorder.programs.iter().map(|program| program.run_time_ns).sum()),
            ring_bytes: Some(recorder.ring.bytes),
            ring_high_water_bytes: Some(recorder.ring.high_water_bytes),
            agent_cpu_ns: Some(recorder.agent_cpu_ns),
            predicted_log_down_ns: prediction.map(|prediction| prediction.log.down_ns),
            predicted_pages_down_ns: prediction.and_then(|prediction| prediction.pages).map(|pages| pages.down_ns),
            ..Self::new(sample, Level::Container, "", "", sample.total)
        }
    }
}

/// The file, while it is written.
#[derive(Debug)]
pub struct CsvFile {
    path: PathBuf,
    file: File,
}

impl CsvFile {
    /// Puts a file with nothing but the header in the place of what was there.
    ///
    /// # Errors
    /// [`OutputError::Write`].
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let header = HEADER.join(",") + "\n";
        Ok(Self { file: replace(path, header.as_bytes())?, path: path.to_owned() })
    }

    /// Appends an interval.
    ///
    /// # Errors
    /// [`OutputError::Write`], [`OutputError::Row`].
    pub fn push(&mut self, samples: &[Sample]) -> Result<(), OutputError> {
        let bytes = rows(samples).map_err(|source| OutputError::Row { path: self.path.clone(), source })?;
        self.file.write_all(&bytes).map_err(OutputError::write(&self.path))
    }
}

fn rows(samples: &[Sample]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for sample in samples {
        writer.serialize(Row::of_container(sample))?;
        for group in &sample.groups {
            writer.serialize(Row::new(sample, Level::Group, &group.group, "", group.amounts))?;
            for call in &group.calls {
                writer.serialize(Row::new(sample, Level::Call, &group.group, &call.call, call.amounts))?;
            }
        }
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::example;
    use std::collections::HashMap;

    fn read(path: &Path) -> Vec<HashMap<String, String>> {
        csv::Reader::from_path(path).unwrap().into_deserialize().map(Result::unwrap).collect()
    }

    #[test]
    fn the_header_names_what_the_rows_hold() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(Row::of_container(&Sample::default())).unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert_eq!(text.lines().next().unwrap(), HEADER.join(","));
    }

    #[test]
    fn rows_of_each_level_add_up_to_those_of_the_level_above() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rates.csv");
        let mut file = CsvFile::create(&path).unwrap();
        assert!(read(&path).is_empty());
        let intervals = example::intervals(3);
        for samples in &intervals {
            file.push(samples).unwrap();
        }
        let rows = read(&path);
        for column in ["events", "input_bytes", "encoded_bytes", "zstd_bytes"] {
            let sum = |level: &str| -> u64 {
                let of_level = rows.iter().filter(|row| row["level"] == level);
                of_level.map(|row| row[column].parse::<u64>().unwrap()).sum()
            };
            assert!(sum("container") > 0);
            assert_eq!((sum("group"), sum("call")), (sum("container"), sum("container")), "{column}");
        }
        let containers = rows.iter().filter(|row| row["level"] == "container").count();
        assert_eq!(containers, 3 * intervals[0].len());
    }

    #[test]
    fn what_was_not_measured_is_empty_and_not_zero() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rates.csv");
        let mut file = CsvFile::create(&path).unwrap();
        let sample = Sample { container: example::target("a,\"b\"\n"), ..Sample::default() };
        file.push(&[sample]).unwrap();
        let rows = read(&path);
        assert_eq!(rows[0]["container"], "a,\"b\"\n");
        assert_eq!((rows[0]["zstd_bytes"].as_str(), rows[0]["dirty_bytes"].as_str(), rows[0]["events"].as_str()), ("", "", "0"));
        assert_eq!(rows[0]["program_runs"], "");
    }
}
