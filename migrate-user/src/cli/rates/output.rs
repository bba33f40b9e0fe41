//! Where samples go.

use super::live::Live;
use super::plain;
use super::stop::Stop;
use crate::agent::api::Code;
use crate::cli::CliError;
use crate::cli::text::{print, print_json};
use crate::rates::csv::CsvFile;
use crate::rates::svg::Plot;
use crate::rates::{OutputError, Sample};
use std::path::{Path, PathBuf};

/// Takes every interval's samples.
#[derive(Debug)]
pub(super) struct Output {
    shown: Shown,
    csv: Option<CsvFile>,
    plot: Option<(Plot, PathBuf)>,
}

#[derive(Debug)]
enum Shown {
    /// A line of JSON a sample.
    Json,
    /// A table a sample.
    Plain,
    /// A live view, and the last samples.
    Live(Live, Vec<Sample>),
}

impl Output {
    /// Files are made at once: where they cannot be, nothing is measured first. A live view that is left tells `stop`.
    pub(super) fn new(json: bool, csv: Option<&Path>, plot: Option<&Path>, stop: &Stop) -> Result<Self, CliError> {
        let csv = csv.map(CsvFile::create).transpose().map_err(unwritten)?;
        let plot = plot.map(|path| {
            let mut plot = Plot::default();
            plot.write(path).map(|()| (plot, path.to_owned()))
        });
        let plot = plot.transpose().map_err(unwritten)?;
        let shown = match json {
            true => Shown::Json,
            false if Live::is_possible() => Shown::Live(Live::start(stop.bell())?, Vec::new()),
            false => Shown::Plain,
        };
        Ok(Self { shown, csv, plot })
    }

    pub(super) fn samples(&mut self, samples: &[Sample]) -> Result<(), CliError> {
        if let Some(csv) = &mut self.csv {
            csv.push(samples).map_err(unwritten)?;
        }
        if let Some((plot, path)) = &mut self.plot {
            plot.push(samples);
            plot.write_on_the_way(path).map_err(unwritten)?;
        }
        match &mut self.shown {
            Shown::Json => samples.iter().try_for_each(print_json),
            Shown::Plain => samples.iter().try_for_each(|sample| print(&(plain::text(sample) + "\n"))),
            Shown::Live(live, last) => {
                live.show(samples);
                samples.clone_into(last);
                Ok(())
            }
        }
    }

    /// No more come. A live view leaves its last interval as text behind.
    pub(super) fn finish(self) -> Result<(), CliError> {
        if let Some((mut plot, path)) = self.plot {
            plot.write(&path).map_err(unwritten)?;
        }
        if let Shown::Live(live, last) = self.shown {
            live.finish()?;
            last.iter().try_for_each(|sample| print(&(plain::text(sample) + "\n")))?;
        }
        Ok(())
    }
}

fn unwritten(error: OutputError) -> CliError {
    CliError::caused(Code::Failed, "a file of the measurement", error)
}
