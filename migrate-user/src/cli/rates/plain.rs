//! Samples as plain text.

use crate::cli::text::{Align, bytes, count, table};
use crate::rates::Sample;
use crate::rates::sample::{Amounts, Dirty, DirtyMethod, Lost, Mode, ProgramCost};

/// A container's interval: groups, below each its calls, and what the measurement itself took.
pub(super) fn text(sample: &Sample) -> String {
    let mut out = head(sample);
    out.push_str(&amounts(sample));
    out.push_str(&cost(sample));
    if let Some(dirty) = &sample.dirty {
        out.push_str(&dirty_pages(sample, dirty));
    }
    if let Some(prediction) = &sample.prediction {
        out.push_str(&format!("link: {}\n", prediction.sentence));
        out.push_str(&format!("      (assumed: a replica takes {} events/s)\n", count(prediction.replay_events_per_second)));
    }
    for spot in &sample.blind_spots {
        out.push_str(&format!("not seen: {spot}\n"));
    }
    if !sample.lost.none() {
        out.push_str(&format!("LOST: {}: the numbers above are too low\n", losses(&sample.lost)));
    }
    out
}

/// Each cause of a loss with its number.
pub(super) fn losses(lost: &Lost) -> String {
    let causes = [
        (lost.ring_full, "records that the ring had no room for (give it more with --ring)"),
        (lost.too_large, "records over the recorder's bounds"),
        (lost.faults, "records whose bytes could not be read"),
        (lost.missed_runs, "program runs that the kernel skipped"),
        (lost.unexplained, "records that never came"),
    ];
    let told: Vec<_> = causes.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))).collect();
    told.join(", ")
}

fn head(sample: &Sample) -> String {
    let id = sample.container.id.get(..12).unwrap_or(&sample.container.id);
    let id = if id.is_empty() || id == sample.container.name { String::new() } else { format!("  {id}") };
    let at = format!("{:.1} s", seconds(sample.elapsed_ns));
    format!("{}{id}  {}  after {at}, over {:.2} s\n", sample.container.name, sample.container.cgroup, seconds(sample.interval_ns))
}

fn amounts(sample: &Sample) -> String {
    use Align::{Left, Right};
    let mut head = vec![("", Left), ("EVENTS/S", Right), ("INPUT/S", Right)];
    if sample.mode == Mode::Capture {
        head.extend([("RAW/S", Right), ("ENCODED/S", Right), ("ZSTD/S", Right)]);
    }
    let cells = |name: String, amounts: &Amounts| {
        let mut cells = vec![name, events(sample.per_second(amounts.events)), per_second(sample, amounts.input_bytes)];
        if sample.mode == Mode::Capture {
            let log = amounts.log.unwrap_or_default();
            cells.extend([log.raw_bytes, log.encoded_bytes, log.zstd_bytes].map(|bytes| per_second(sample, bytes)));
        }
        cells
    };
    let mut rows = Vec::new();
    for group in &sample.groups {
        rows.push(cells(group.group.clone(), &group.amounts));
        rows.extend(group.calls.iter().map(|call| cells(format!("  {}", call.call), &call.amounts)));
    }
    rows.push(cells("total".into(), &sample.total));
    table(&head, &rows)
}

fn cost(sample: &Sample) -> String {
    let recorder = &sample.recorder;
    let mut parts: Vec<String> =
        recorder.programs.iter().filter(|program| program.runs > 0).map(|p| program(sample, p)).collect();
    let busy: u64 = recorder.programs.iter().map(|program| program.run_time_ns).sum();
    if !recorder.programs.is_empty() {
        parts.push(format!("{} of a CPU in programs", percent(sample.per_second(busy) / 1e9)));
    }
    parts.push(format!("{} of a CPU in this process", percent(sample.agent_cpu_share())));
    if recorder.ring.bytes > 0 {
        parts.push(format!("ring filled to {} of {}", bytes(recorder.ring.high_water_bytes), bytes(recorder.ring.bytes)));
    }
    format!("recorder: {}\n", parts.join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn program(sample: &Sample, program: &ProgramCost) -> String {
    let each_ns = program.run_time_ns as f64 / program.runs as f64;
    format!("{} {} runs/s of {each_ns:.0} ns", program.program, events(sample.per_second(program.runs)))
}

fn dirty_pages(sample: &Sample, dirty: &Dirty) -> String {
    let how = match dirty.method {
        DirtyMethod::Contents => "contents compared",
    };
    let part =
        if dirty.looked_at < 1.0 { format!(", estimated from {} of them", percent(dirty.looked_at)) } else { String::new() };
    let rate = events(sample.per_second(dirty.pages));
    let of = count(dirty.watched_pages);
    format!("dirty: {rate} pages/s, {}/s, of {of} pages that can be written ({how}{part})\n", per_second(sample, dirty.bytes))
}

/// Few events are not rounded to none.
fn events(per_second: f64) -> String {
    match per_second {
        0.0 => "0".into(),
        ..9.95 => format!("{per_second:.1}"),
        _ => count(whole(per_second)),
    }
}

fn per_second(sample: &Sample, n: u64) -> String {
    bytes(whole(sample.per_second(n)))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative, and `as` saturates")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::sample::{CallSample, GroupSample, LogBytes, RecorderCost, Ring, Target};

    fn sample() -> Sample {
        let log = LogBytes { raw_bytes: 4096, encoded_bytes: 1000, zstd_bytes: 300 };
        let amounts = Amounts { events: 2000, input_bytes: 2048, log: Some(log) };
        let calls = vec![CallSample { call: "read".into(), amounts }];
        let programs = vec![ProgramCost { program: "sys_exit".into(), runs: 5000, run_time_ns: 1_000_000 }];
        Sample {
            container: Target { name: "web".into(), id: "4f1c0de4f1c0de".into(), cgroup: "/docker/4f1c".into() },
            elapsed_ns: 3_000_000_000,
            interval_ns: 2_000_000_000,
            total: amounts,
            groups: vec![GroupSample { group: "read".into(), amounts, calls }],
            recorder: RecorderCost {
                programs,
                ring: Ring { bytes: 1 << 20, high_water_bytes: 1024 },
                agent_cpu_ns: 20_000_000,
                cpus: 2,
            },
            ..Sample::default()
        }
    }

    #[test]
    fn a_table_has_groups_their_calls_and_what_the_measurement_takes() {
        let text = text(&sample());
        let expected = "\
web  4f1c0de4f1c0  /docker/4f1c  after 3.0 s, over 2.00 s
        EVENTS/S   INPUT/S     RAW/S  ENCODED/S  ZSTD/S
read       1,000  1.00 KiB  2.00 KiB      500 B   150 B
  read     1,000  1.00 KiB  2.00 KiB      500 B   150 B
total      1,000  1.00 KiB  2.00 KiB      500 B   150 B
recorder: sys_exit 2,500 runs/s of 200 ns, 0.1 % of a CPU in programs, 1.0 % of a CPU in this process, \
ring filled to 1.00 KiB of 1.00 MiB
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_loss_is_the_last_thing_that_is_read() {
        let mut sample = sample();
        sample.lost = Lost { ring_full: 1200, missed_runs: 1, ..Lost::default() };
        sample.blind_spots.push("the vDSO".into());
        let text = text(&sample);
        let last = text.lines().last().unwrap();
        assert!(
            last.starts_with("LOST: 1,200 records that the ring had no room for (give it more with --ring), 1 program run"),
            "{last}"
        );
        assert!(text.contains("not seen: the vDSO\n"));
    }
}
