//! The picture. Colours are of classes, which a dark page's reader gets in other values; no font but the reader's own.

use super::scale::{Scale, time_ticks};
use super::{Plot, Point};
use crate::rates::human;
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 790.0;
/// Foot and head of the two panels, from the picture's top.
const EVENTS: (f64, f64) = (300.0, 70.0);
const BYTES: (f64, f64) = (590.0, 360.0);
const LEGEND: f64 = RIGHT + 18.0;
/// Labels that an axis gets, about.
const TICKS: f64 = 4.0;
/// Where lines differ more than this, their axis has decades.
const SPREAD: f64 = 10.0;
/// Of the groups, in order; told apart with the usual kinds of colour blindness by lightness too, and by the legend's order.
const COLOURS: [&str; 9] = ["#4e79a7", "#f28e2b", "#76b7b2", "#e15759", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f"];
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.page{fill:#ffffff}.title{font-size:16px;font-weight:600}.small{font-size:12px;fill:#59636e}\
.grid,.axis,.lost,.line{fill:none}.grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#59636e;stroke-width:1}\
.line{stroke-width:2}.raw{stroke:#8c959f}.encoded{stroke:#0969da}.zstd{stroke:#1a7f37}\
.dirty{stroke:#bc4c00;stroke-dasharray:6 3}.lost{stroke:#cf222e;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.page{fill:#0d1117}.small{fill:#9198a1}.grid{stroke:#3d444d}.axis{stroke:#9198a1}\
.raw{stroke:#9198a1}.encoded{stroke:#4493f8}.zstd{stroke:#3fb950}.dirty{stroke:#db6d28}.lost{stroke:#f85149}}";

/// The file.
pub(super) fn draw(plot: &Plot) -> String {
    let mut page = Page { out: String::new(), seconds: plot.points.iter().map(|point| point.seconds).sum() };
    // A string takes whatever is written.
    let _ = page.whole(plot);
    page.out
}

struct Page {
    out: String,
    /// The time axis' end.
    seconds: f64,
}

/// A line of the lower panel.
struct Series {
    class: &'static str,
    name: &'static str,
    rates: Vec<Option<f64>>,
}

impl Page {
    fn whole(&mut self, plot: &Plot) -> std::fmt::Result {
        let names = match &plot.names[..] {
            [] => "nothing measured yet".to_owned(),
            names if names.len() <= 4 => names.join(", "),
            [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
            [only] => only.clone(),
        };
        let names = escaped(&names);
        writeln!(self.out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">")?;
        writeln!(self.out, "<title>Log rates of {names}</title>\n<style>{STYLE}</style>")?;
        writeln!(self.out, "<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>")?;
        self.text(LEFT, 28.0, "start", "title", &format!("Log rates of {names}"))?;
        self.events(plot)?;
        self.bytes(plot)?;
        self.losses(plot)?;
        self.text(f64::midpoint(LEFT, RIGHT), HEIGHT - 12.0, "middle", "small", "time since the attach")?;
        writeln!(self.out, "</svg>")
    }

    fn events(&mut self, plot: &Plot) -> std::fmt::Result {
        let total = |point: &Point| point.rate(point.events.iter().sum());
        let scale = Scale::linear(plot.points.iter().map(total).fold(0.0, f64::max), TICKS);
        self.axes(EVENTS, scale, "events/s, by group", human::count)?;
        let mut below = vec![0.0; plot.points.len()];
        let mut shown = Vec::new();
        for (at, name) in plot.groups.iter().enumerate() {
            let own = |point: &Point| point.rate(point.events.get(at).copied().unwrap_or(0));
            if plot.points.iter().all(|point| own(point) == 0.0) {
                continue;
            }
            let above: Vec<f64> = plot.points.iter().zip(&below).map(|(point, below)| below + own(point)).collect();
            let colour = COLOURS[at % COLOURS.len()];
            let there = self.steps(plot, EVENTS, scale, above.iter().copied().map(Some));
            // Back along the lower edge.
            let back = self.steps(plot, EVENTS, scale, below.iter().copied().map(Some));
            let (mut edge, lower) = (there.concat(), back.concat());
            edge.extend(lower.into_iter().rev());
            writeln!(self.out, "<polygon points=\"{}\" fill=\"{colour}\"/>", joined(&edge))?;
            below = above;
            shown.push((colour, name));
        }
        // As they are stacked: the topmost first.
        for (line, (colour, name)) in shown.iter().rev().enumerate() {
            let y = EVENTS.1 + 12.0 + 20.0 * line as f64;
            writeln!(self.out, "<rect x=\"{LEGEND}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>", y - 10.0)?;
            self.text(LEGEND + 20.0, y, "start", "", &escaped(name))?;
        }
        Ok(())
    }

    fn bytes(&mut self, plot: &Plot) -> std::fmt::Result {
        let of_log = |class, name, part: fn(&super::LogBytes) -> u64| Series {
            class,
            name,
            rates: plot.points.iter().map(|point| point.log.as_ref().map(|log| point.rate(part(log)))).collect(),
        };
        let dirty = plot.points.iter().map(|point| point.dirty_bytes.map(|bytes| point.rate(bytes))).collect();
        let series = [
            Series { class: "dirty", name: "dirty pages", rates: dirty },
            of_log("raw", "raw", |log| log.raw_bytes),
            of_log("encoded", "encoded", |log| log.encoded_bytes),
            of_log("zstd", "zstd", |log| log.zstd_bytes),
        ];
        let series: Vec<_> = series.into_iter().filter(|series| series.rates.iter().any(Option::is_some)).collect();
        let mosts = series.iter().map(|series| series.rates.iter().flatten().copied().fold(0.0, f64::max));
        let mosts: Vec<f64> = mosts.filter(|most| *most > 0.0).collect();
        let (least, most) = mosts.iter().fold((f64::MAX, 0.0f64), |(least, most), value| (least.min(*value), most.max(*value)));
        let apart = !mosts.is_empty() && most > SPREAD * least;
        let (scale, title) = if apart {
            (Scale::decades(least / 10.0, most), "bytes/s, logarithmic")
        } else {
            (Scale::linear(most, TICKS), "bytes/s")
        };
        self.axes(BYTES, scale, title, human::bytes)?;
        for (line, series) in series.iter().enumerate() {
            for piece in self.steps(plot, BYTES, scale, series.rates.iter().copied()) {
                writeln!(self.out, "<polyline class=\"line {}\" points=\"{}\"/>", series.class, joined(&piece))?;
            }
            let y = BYTES.1 + 12.0 + 20.0 * line as f64;
            let (class, end) = (series.class, LEGEND + 14.0);
            writeln!(self.out, "<path class=\"line {class}\" d=\"M{LEGEND} {:.1}H{end}\"/>", y - 4.0)?;
            self.text(LEGEND + 20.0, y, "start", "", series.name)?;
        }
        if series.is_empty() && !plot.points.is_empty() {
            self.text(LEFT + 12.0, BYTES.1 + 24.0, "start", "small", "events were only counted: there is no log")?;
        }
        Ok(())
    }

    /// A line across both panels for each point that lost something.
    fn losses(&mut self, plot: &Plot) -> std::fmt::Result {
        let mut before = 0.0;
        let mut lost = 0;
        for point in &plot.points {
            if point.lost > 0 {
                lost += point.lost;
                let x = self.x(before + point.seconds / 2.0);
                writeln!(
                    self.out,
                    "<path class=\"lost\" d=\"M{x:.1} {}V{}M{x:.1} {}V{}\"/>",
                    EVENTS.0, EVENTS.1, BYTES.0, BYTES.1
                )?;
            }
            before += point.seconds;
        }
        if lost == 0 {
            return Ok(());
        }
        let y = BYTES.0 - 4.0;
        writeln!(self.out, "<path class=\"lost\" d=\"M{LEGEND} {:.1}H{}\"/>", y - 4.0, LEGEND + 14.0)?;
        self.text(LEGEND + 20.0, y, "start", "", &format!("{lost} records lost"))
    }

    fn axes(&mut self, panel: (f64, f64), scale: Scale, title: &str, label: fn(f64) -> String) -> std::fmt::Result {
        let (foot, head) = panel;
        self.text(LEFT, head - 12.0, "start", "", title)?;
        for value in scale.ticks(TICKS) {
            let y = foot - scale.at(value) * (foot - head);
            writeln!(self.out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>")?;
            self.text(LEFT - 8.0, y + 4.0, "end", "small", &label(value))?;
        }
        for seconds in time_ticks(self.seconds.max(1.0)) {
            let x = self.x(seconds);
            writeln!(self.out, "<path class=\"axis\" d=\"M{x:.1} {foot}v4\"/>")?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds from 0 on")]
            self.text(x, foot + 18.0, "middle", "small", &human::clock(seconds as u64))?;
        }
        writeln!(self.out, "<path class=\"axis\" d=\"M{LEFT} {head}V{foot}H{RIGHT}\"/>")
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + seconds / self.seconds.max(1.0) * (RIGHT - LEFT)
    }

    /// The corners of a line that is level for each point's time; a new piece behind each point without a value.
    fn steps(
        &self,
        plot: &Plot,
        panel: (f64, f64),
        scale: Scale,
        values: impl Iterator<Item = Option<f64>>,
    ) -> Vec<Vec<(f64, f64)>> {
        let (foot, head) = panel;
        let mut pieces = vec![Vec::new()];
        let mut before = 0.0;
        for (point, value) in plot.points.iter().zip(values) {
            let after = before + point.seconds;
            match (value, pieces.last_mut()) {
                (Some(value), Some(piece)) => {
                    let y = foot - scale.at(value) * (foot - head);
                    piece.extend([(self.x(before), y), (self.x(after), y)]);
                }
                _ => pieces.push(Vec::new()),
            }
            before = after;
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) -> std::fmt::Result {
        writeln!(self.out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>")
    }
}

fn joined(corners: &[(f64, f64)]) -> String {
    let corners: Vec<_> = corners.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    corners.join(" ")
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
