//! What a page promises, and what rests on it: the documentation, the dashboard and the alerts.

use super::moves::Moves;
use super::page;
use super::readings::{Container, Group, Process, Program, Readings, Ring, State};
use crate::agent::api::{ApiError, Code, DownTime, MoveReport};
use crate::agent::holds::Held;
use crate::agent::lease::Losses;
use crate::ring::Stats;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn readings() -> Readings {
    let web = Container {
        name: "web".into(),
        id: "4f1c09ab77de".into(),
        emitted: 1200,
        emitted_bytes: 160_000,
        groups: vec![
            Group { name: "receive", records: 800, input_bytes: 90_000 },
            Group { name: "time", records: 400, input_bytes: 6_400 },
        ],
        log_raw_bytes: 150_000,
        log_stored_bytes: 21_000,
    };
    Readings {
        version: "0.1.0".into(),
        kernel_release: "6.18.0".into(),
        lost: Some(Losses { ring_full: 3, too_large: 2, faults: 1 }),
        missed_runs: Some(4),
        programs: vec![Program { name: "sys_exit", runs: 5000, run_time: Duration::from_micros(1500) }],
        ring: Ring {
            bytes: 64 << 20,
            stats: Stats { entries: 1300, bytes: 200_000, most_waiting_bytes: 90_000, ..Stats::default() },
            held: Held { count: 1, time: Duration::from_millis(12) },
        },
        spool_limit_bytes: 8 << 30,
        recorded: vec![web.clone(), Container { name: "a \"b\"\\\n".into(), id: "0".into(), ..web }],
        states: vec![(State::Migratable, 2), (State::Live, 1)],
        moving: 1,
        process: Process {
            cpu: Duration::from_millis(40),
            resident_bytes: 9 << 20,
            open_descriptors: 31,
            started: Duration::from_secs(1_700_000_000),
        },
    }
}

fn moved(down_us: u64) -> Result<MoveReport, ApiError> {
    let down = DownTime { total_us: down_us, ..DownTime::default() };
    Ok(MoveReport { moved: true, down, total_us: 900_000, ..MoveReport::default() })
}

/// A page by the rules of OpenMetrics: type by family, value by series.
#[derive(Debug, Default)]
struct Parsed {
    types: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

impl Parsed {
    fn of(page: &str) -> Self {
        let mut parsed = Self::default();
        let mut family = String::new();
        let (body, end) = page.split_at(page.len() - "# EOF\n".len());
        assert_eq!(end, "# EOF\n");
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let [keyword, name, rest] = rest.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
                match keyword {
                    "HELP" => name.clone_into(&mut family),
                    "TYPE" => assert_eq!(parsed.types.insert(name.into(), rest.into()), None, "{name} comes twice"),
                    "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                    _ => panic!("{line}"),
                }
                assert_eq!(name, family, "{line}");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let suffix = name_of(series).strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} under {family}"));
            match parsed.types[&family].as_str() {
                "counter" => assert_eq!(suffix, "_total", "{line}"),
                "gauge" => assert_eq!(suffix, "", "{line}"),
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                other => panic!("{family} is a {other}"),
            }
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(parsed.series.insert(series.into(), value), None, "{series} comes twice");
        }
        parsed
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series.keys()))
    }

    /// Names as an expression uses them.
    fn names(&self) -> BTreeSet<&str> {
        self.series.keys().map(|series| name_of(series)).collect()
    }
}

fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

fn example() -> Parsed {
    let moves = Moves::default();
    moves.requested(&moved(180_000));
    moves.received(false);
    Parsed::of(&page::render(readings(), &moves))
}

#[test]
fn a_page_says_what_was_read_in_base_units() {
    let page = example();
    for (series, value) in [
        ("migrate_recorder_lost_records_total{reason=\"ring_full\"}", 3.0),
        ("migrate_recorder_lost_records_total{reason=\"fault\"}", 1.0),
        ("migrate_recorder_missed_runs_total", 4.0),
        ("migrate_recorder_records_total{container=\"web\",container_id=\"4f1c09ab77de\"}", 1200.0),
        ("migrate_log_records_total{container=\"web\",container_id=\"4f1c09ab77de\",group=\"time\"}", 400.0),
        ("migrate_recorder_program_seconds_total{program=\"sys_exit\"}", 0.0015),
        ("migrate_ring_held_seconds_total", 0.012),
        ("migrate_ring_size_bytes", 67_108_864.0),
        ("migrate_spool_bytes", 42_000.0),
        ("migrate_containers{state=\"migratable\"}", 2.0),
        ("migrate_containers{state=\"not_migratable\"}", 0.0),
        ("migrate_migrations_total{side=\"source\",result=\"moved\"}", 1.0),
        ("migrate_migrations_total{side=\"source\",result=\"in_doubt\"}", 0.0),
        ("migrate_migrations_total{side=\"target\",result=\"failed\"}", 1.0),
        ("migrate_migration_down_time_seconds_bucket{le=\"0.15\"}", 0.0),
        ("migrate_migration_down_time_seconds_bucket{le=\"0.2\"}", 1.0),
        ("migrate_migration_duration_seconds_sum", 0.9),
    ] {
        assert!((page.value(series) - value).abs() < 1e-9, "{series}: {} is not {value}", page.value(series));
    }
}

#[test]
fn a_container_s_name_cannot_break_the_page() {
    let page = example();
    let series = "migrate_log_raw_bytes_total{container=\"a \\\"b\\\"\\\\\\n\",container_id=\"0\"}";
    assert!((page.value(series) - 150_000.0).abs() < 1e-9);
}

#[test]
fn what_cannot_be_read_has_no_series_rather_than_a_zero() {
    let page = page::render(Readings { lost: None, missed_runs: None, ..readings() }, &Moves::default());
    let page = Parsed::of(&page);
    assert!(page.types.contains_key("migrate_recorder_lost_records"));
    let names = page.names();
    assert!(!names.contains("migrate_recorder_lost_records_total") && !names.contains("migrate_recorder_missed_runs_total"));
}

#[test]
fn only_containers_that_are_recorded_now_have_series_of_their_own() {
    let page = Parsed::of(&page::render(Readings { recorded: Vec::new(), ..readings() }, &Moves::default()));
    let of_containers = page.series.keys().filter(|series| series.contains("container_id")).count();
    assert_eq!(of_containers, 0);
}

#[test]
fn migrations_are_counted_by_how_they_ended_and_dry_runs_are_not() {
    let moves = Moves::default();
    moves.requested(&moved(20_000));
    moves.requested(&Ok(MoveReport { dry_run: true, ..MoveReport::default() }));
    for code in [Code::Refused, Code::Usage, Code::Failed, Code::InDoubt] {
        moves.requested(&Err(ApiError::new(code, "why")));
    }
    moves.received(true);
    let page = Parsed::of(&page::render(readings(), &moves));
    let ended =
        |side: &str, result: &str| page.value(&format!("migrate_migrations_total{{side=\"{side}\",result=\"{result}\"}}"));
    let source = ["moved", "failed", "refused", "in_doubt"].map(|result| ended("source", result));
    assert_eq!(source, [1.0, 1.0, 2.0, 1.0]);
    assert_eq!(["moved", "failed"].map(|result| ended("target", result)), [1.0, 0.0]);
    assert!((page.value("migrate_migration_down_time_seconds_count") - 1.0).abs() < 1e-9);
}

fn project(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Words of a text that are names of metrics.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("migrate_") || word.starts_with("process_")).collect()
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_ask_for_is_on_a_page() {
    let page = example();
    let names = page.names();
    for file in ["dashboards/grafana.json", "dashboards/alerts.yml"] {
        let text = project(file);
        let unknown: Vec<_> = mentioned(&text).into_iter().filter(|name| !names.contains(name)).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which no agent tells");
        assert!(mentioned(&text).len() > 5, "{file} asks for next to nothing");
    }
}

#[test]
fn every_metric_is_documented_and_nothing_else_is() {
    let page = example();
    let text = project("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let documented: BTreeSet<_> = rows.collect();
    let told = page.types.iter().map(|(name, kind)| match kind.as_str() {
        "counter" => format!("{name}_total"),
        _ => name.clone(),
    });
    let told: BTreeSet<_> = told.collect();
    assert_eq!(documented, told.iter().map(String::as_str).collect());
}
