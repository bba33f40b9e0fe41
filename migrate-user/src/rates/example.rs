//! Samples for tests: a web server and a database, as they look in a measurement.

use super::sample::{
    Amounts, CallSample, Dirty, DirtyMethod, GroupSample, LogBytes, Lost, Prediction, ProgramCost, RecorderCost, Ring, Sample,
    Target, Way,
};

/// A container by its name.
pub(super) fn target(name: &str) -> Target {
    let id = format!("{:0<64}", name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    Target { name: name.to_owned(), cgroup: format!("/docker/{id}"), id }
}

/// Events and input bytes of an event, by call. Raw bytes are a header of 120 more each, the compact form and zstd's a part.
const WEB: [(&str, &str, u64, u64); 8] = [
    ("receive", "recvfrom", 9400, 118),
    ("receive", "accept4", 120, 16),
    ("poll", "epoll_wait", 9800, 14),
    ("time", "clock_gettime", 2100, 16),
    ("file", "openat", 9400, 0),
    ("file", "newfstatat", 9400, 144),
    ("read", "pread64", 310, 4096),
    ("signal", "signal", 1, 48),
];
const DB: [(&str, &str, u64, u64); 4] = [
    ("receive", "read", 41_000, 37),
    ("poll", "epoll_wait", 22_000, 12),
    ("time", "clock_gettime", 81_000, 16),
    ("random", "getrandom", 3, 16),
];
const GROUPS: [&str; 9] = ["read", "receive", "time", "random", "signal", "poll", "file", "process", "other"];

/// So many intervals of a second, of both.
pub(super) fn intervals(count: u64) -> Vec<Vec<Sample>> {
    (1..=count).map(|n| vec![sample("web", &WEB, n), sample("db", &DB, n)]).collect()
}

fn sample(name: &str, calls: &[(&str, &str, u64, u64)], n: u64) -> Sample {
    // A wave between a half and one and a half, without a clock or chance.
    let wave = |value: u64| value * (50 + (n * 37 + n * n * 11) % 101) / 100;
    let group = |group: &str| {
        let mut calls: Vec<_> = calls
            .iter()
            .filter(|(of, ..)| *of == group)
            .map(|(_, call, events, bytes)| {
                let (events, input_bytes) = (wave(*events), wave(*events) * bytes);
                let raw_bytes = input_bytes + events * 120;
                let log =
                    LogBytes { raw_bytes, encoded_bytes: input_bytes / 2 + events * 5, zstd_bytes: input_bytes / 7 + events };
                CallSample { call: (*call).to_owned(), amounts: Amounts { events, input_bytes, log: Some(log) } }
            })
            .filter(|call| call.amounts.events > 0)
            .collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.amounts.events));
        let mut amounts = Amounts { log: Some(LogBytes::default()), ..Amounts::default() };
        calls.iter().for_each(|call| amounts += call.amounts);
        GroupSample { group: group.to_owned(), amounts, calls }
    };
    let groups: Vec<_> = GROUPS.iter().map(|name| group(name)).collect();
    let mut total = Amounts::default();
    groups.iter().for_each(|group| total += group.amounts);
    let runs = wave(310_000);
    let dirty_pages = wave(if name == "db" { 51_000 } else { 900 });
    Sample {
        container: target(name),
        at_unix_ms: 1_700_000_000_000 + n * 1000,
        elapsed_ns: n * 1_000_000_000,
        interval_ns: 1_000_000_000,
        total,
        groups,
        recorder: RecorderCost {
            programs: vec![ProgramCost { program: "sys_exit".to_owned(), runs, run_time_ns: runs * 412 }],
            ring: Ring { bytes: 64 << 20, high_water_bytes: 1_400_000 },
            agent_cpu_ns: wave(210_000_000),
            cpus: 2,
        },
        dirty: Some(Dirty {
            method: DirtyMethod::Contents,
            pages: dirty_pages,
            bytes: dirty_pages * 4096,
            watched_pages: 210_000,
            looked_at: 1.0,
        }),
        prediction: Some(Prediction {
            link_bits_per_second: 1_000_000_000,
            log: Way { bytes_per_second: 900_000.0, converges: true, down_ns: 140_000_000, ..Way::default() },
            sentence: "the log needs 0.9 MB/s, dirty pages 209 MB/s: on a link of 1 Gbit/s page copying does not converge, \
                       shipping the log converges (2 rounds, 140 ms down, 2.1 s in all)"
                .to_owned(),
            ..Prediction::default()
        }),
        ..Sample::default()
    }
}

/// What an interval lost.
pub(super) fn with_loss(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples[0].lost = Lost { ring_full: 12, ..Lost::default() };
    samples.iter_mut().for_each(|sample| sample.lost.missed_runs = 2);
    samples
}
