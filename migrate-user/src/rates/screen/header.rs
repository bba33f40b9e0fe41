//! The lines above the table: what is measured, what that costs, and whether it is whole.

use super::rows::Column;
use super::{Screen, View};
use crate::rates::human;
use crate::rates::sample::{Lost, Mode, RecorderCost, Sample};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use std::time::Duration;

/// Lines that [`lines`] gives.
pub(super) const LINES: u16 = 4;

/// Above the trend and the table.
pub(super) fn lines(screen: &Screen) -> [Line<'static>; LINES as usize] {
    let Some(sample) = screen.of_view().or_else(|| screen.latest.first()) else {
        return [
            Line::from("migrate rates".bold()),
            Line::from("the first interval is not over yet"),
            Line::default(),
            Line::default(),
        ];
    };
    [title(screen, sample), cost(sample), ring(sample), lost(&screen.lost)]
}

fn title(screen: &Screen, sample: &Sample) -> Line<'static> {
    let what = match &screen.view {
        View::Containers if screen.latest.len() == 1 => "1 container".to_owned(),
        View::Containers => format!("{} containers", screen.latest.len()),
        View::Groups(target) => target.name.clone(),
        View::Calls(target, None) => format!("{} > all calls", target.name),
        View::Calls(target, Some(group)) => format!("{} > {group}", target.name),
    };
    let mode = match sample.mode {
        Mode::Capture => "captured, encoded, compressed, dropped",
        Mode::Count => "only counted",
    };
    let interval = Duration::from_nanos(sample.interval_ns).as_secs_f64();
    let since = human::clock(sample.elapsed_ns / 1_000_000_000);
    let mut line = Line::from(vec![
        "migrate rates  ".bold(),
        Span::from(what).bold(),
        format!("  {mode}  every {interval:.1} s, since {since}").into(),
    ]);
    if screen.paused {
        line.push_span("  paused".bold().yellow());
    }
    line
}

/// Programs and agent.
fn cost(sample: &Sample) -> Line<'static> {
    let RecorderCost { programs, cpus, .. } = &sample.recorder;
    let agent = format!("agent {:.1} % of a CPU (the host has {cpus})", sample.agent_cpu_share() * 100.0);
    let runs: u64 = programs.iter().map(|program| program.runs).sum();
    if runs == 0 {
        return Line::from(format!("cost   {agent}"));
    }
    let time_ns: u64 = programs.iter().map(|program| program.run_time_ns).sum();
    let share = sample.per_second(time_ns) / 1e7;
    Line::from(format!(
        "cost   programs {share:.1} % of a CPU: {} runs/s of {} ns   {agent}",
        human::count(sample.per_second(runs)),
        time_ns / runs
    ))
}

fn ring(sample: &Sample) -> Line<'static> {
    let ring = sample.recorder.ring;
    if ring.bytes == 0 {
        return Line::from("ring   none");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (size, most) = (ring.bytes as f64, ring.high_water_bytes as f64);
    let text = format!("ring   at most {} of {} full ({:.0} %)", human::memory(most), human::memory(size), most / size * 100.0);
    let style = if most > size / 2.0 { Style::new().fg(Color::Yellow) } else { Style::new() };
    Line::styled(text, style)
}

fn lost(lost: &Lost) -> Line<'static> {
    if lost.none() {
        return Line::from("lost   nothing");
    }
    let reasons = [
        ("ring full", lost.ring_full),
        ("too large", lost.too_large),
        ("unreadable", lost.faults),
        ("program runs missed", lost.missed_runs),
        ("unexplained", lost.unexplained),
    ];
    let named: Vec<_> = reasons.iter().filter(|(_, n)| *n > 0).map(|(why, n)| format!("{why} {n}")).collect();
    let text = format!("LOST   {} records ({}): the rates are too low", lost.total(), named.join(", "));
    Line::styled(text, Style::new().fg(Color::Red).bold())
}

/// The trend line's title and values: of what the table is sorted by.
pub(super) fn trend(screen: &Screen) -> (String, Vec<f64>) {
    let column = if matches!(screen.sort, Column::Name | Column::Dirty) { Column::Events } else { screen.sort };
    let values = match screen.of_view() {
        Some(sample) => screen.history.of_container(&sample.container, column),
        None => screen.history.of_all(column),
    };
    let most = values.iter().copied().fold(0.0, f64::max);
    let amount = if column == Column::Events { human::count(most) } else { human::bytes(most) };
    (format!("{} up to {amount}", column.title()), values)
}
