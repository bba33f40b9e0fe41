//! What a picture promises.

use super::{POINTS, Plot};
use crate::rates::example;
use crate::rates::sample::{Mode, Sample};

fn plot(count: u64) -> Plot {
    let mut plot = Plot::default();
    example::intervals(count).iter().for_each(|samples| plot.push(samples));
    plot
}

/// Elements that open and close as XML's do.
fn check_nesting(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("<{tag} does not end"));
        assert!(!text.contains('&') || text.contains(';'), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
        } else if !tag.ends_with('/') {
            open.push(tag.split([' ', '\n']).next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn a_picture_has_both_panels_with_units_a_legend_and_a_colour_a_group() {
    let svg = plot(30).svg();
    check_nesting(&svg);
    for text in ["events/s, by group", "bytes/s, logarithmic", "receive", "dirty pages", "raw", "encoded", "zstd", "MB"] {
        assert!(svg.contains(text), "no {text}");
    }
    // Groups without an event are not in it.
    assert_eq!(svg.matches("<polygon").count(), 7);
    assert!(!svg.contains(">process<") && !svg.contains("lost\" d"));
    assert!(svg.contains("prefers-color-scheme:dark"));
}

#[test]
fn names_cannot_break_the_picture() {
    let mut plot = Plot::default();
    plot.push(&[Sample { container: example::target("</title><a&b>"), interval_ns: 1, ..Sample::default() }]);
    check_nesting(&plot.svg());
    assert!(plot.svg().contains("&lt;/title&gt;&lt;a&amp;b&gt;"));
}

#[test]
fn a_measurement_that_was_just_begun_has_a_picture_too() {
    check_nesting(&Plot::default().svg());
    assert!(!Plot::default().svg().contains("NaN"));
    assert!(!plot(1).svg().contains("NaN"));
}

#[test]
fn what_was_only_counted_has_events_and_says_that_there_is_no_log() {
    let mut plot = Plot::default();
    for mut samples in example::intervals(3) {
        for sample in &mut samples {
            (sample.mode, sample.total.log, sample.dirty) = (Mode::Count, None, None);
        }
        plot.push(&samples);
    }
    let svg = plot.svg();
    check_nesting(&svg);
    assert!(svg.contains("only counted") && !svg.contains("polyline") && svg.contains("<polygon"));
}

#[test]
fn a_loss_is_marked_and_counted() {
    let mut plot = plot(3);
    plot.push(&example::with_loss(example::intervals(1).remove(0)));
    // 12 of one container, and 2 runs that both tell of.
    assert!(plot.svg().contains("14 records lost"));
}

#[test]
fn a_long_measurement_keeps_its_sums_in_a_bounded_number_of_points() {
    let intervals = 20 * POINTS as u64 + 7;
    let plot = plot(intervals);
    assert!((POINTS / 2..=POINTS).contains(&plot.points.len()), "{}", plot.points.len());
    let seconds: f64 = plot.points.iter().map(|point| point.seconds).sum();
    assert!((seconds - intervals as f64).abs() < 1e-6);
    let counted: u64 = plot.points.iter().flat_map(|point| &point.events).sum();
    let made: u64 = example::intervals(intervals).iter().flatten().map(|sample| sample.total.events).sum();
    assert_eq!(counted, made);
    // No point holds more than its share, but the last may hold less.
    let longest = plot.points.iter().map(|point| point.seconds).fold(0.0, f64::max);
    assert!(plot.points[..plot.points.len() - 1].iter().all(|point| (point.seconds - longest).abs() < 1e-6));
}

#[test]
fn the_file_is_written_at_once_and_on_the_way_not_at_every_interval() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rates.svg");
    let mut plot = plot(2);
    plot.write_on_the_way(&path).unwrap();
    let first = std::fs::read_to_string(&path).unwrap();
    assert_eq!(first, plot.svg());
    plot.push(&example::intervals(1)[0]);
    plot.write(&path).unwrap();
    assert_ne!(std::fs::read_to_string(&path).unwrap(), first);
}
