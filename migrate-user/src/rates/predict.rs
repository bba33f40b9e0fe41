//! What migrating over a link would take, from measured rates. Pure.
//!
//! Both ways work in rounds: while one round is on its way the container makes the next one. Of a round that takes the time
//! `t`, the next takes `f * t`:
//!
//! ```text
//!  log:    f = max(ship, replay)   ship = zstd bytes/s over the link's bytes/s, replay = events/s over what a replica takes a second
//!          first round: the log so far (an assumption, `Assumptions::backlog`), so `f * backlog`
//!  pages:  f = dirty bytes/s over the link's bytes/s
//!          first round: all watched pages
//!
//!  t, f t, f^2 t ...   until a round fits the down-time target; that one is made with the container standing still
//! ```
//!
//! Below 1 the rounds shrink geometrically, at 1 and above they never do. The rules that end the rounds are the ones that a
//! migration really uses ([`policy`]).
//!
//! What this leaves out: the link is taken as free and loss-free, the rates as constant; pages that are written again and
//! again are taken as spread evenly, so that page copying looks somewhat better than it is in rounds shorter than the
//! measured interval and worse in longer ones (never more than all pages are sent in a round).

use super::sample::{Prediction, Sample, Way};
use crate::round::policy;
use std::time::Duration;

/// Records a second that a replica takes through ptrace: 17-24 us each.
pub const DEFAULT_REPLAY_EVENTS_PER_SECOND: u64 = 50_000;

/// What is not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    pub link_bits_per_second: u64,
    pub replay_events_per_second: u64,
    /// How much of the log there is when the move begins, as time of the container.
    pub backlog: Duration,
}

impl Assumptions {
    /// With the replay speed of this version and a minute of log.
    #[must_use]
    pub const fn of_link(bits_per_second: u64) -> Self {
        Self {
            link_bits_per_second: bits_per_second,
            replay_events_per_second: DEFAULT_REPLAY_EVENTS_PER_SECOND,
            backlog: Duration::from_secs(60),
        }
    }
}

/// What bounds the log's rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Link,
    Replay,
}

/// Predicts both ways of migrating; page copying only of a sample with dirty pages, shipping the log only of one whose log
/// was encoded.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub fn predict(sample: &Sample, assumed: &Assumptions) -> Option<Prediction> {
    let log = sample.total.log?;
    let link = assumed.link_bits_per_second.max(1) as f64 / 8.0;
    let log_rate = sample.per_second(log.zstd_bytes);
    let ship = log_rate / link;
    let replay = sample.per_second(sample.total.events) / assumed.replay_events_per_second.max(1) as f64;
    let (factor, bound) = if replay > ship { (replay, Bound::Replay) } else { (ship, Bound::Link) };
    let backlog = assumed.backlog.as_secs_f64();
    let mut log_way = rounds(factor * backlog, factor, f64::INFINITY);
    log_way.bytes_per_second = log_rate;
    // Until the move ends the container goes on making log; the last round is made while it stands still.
    let made = backlog + seconds(log_way.total_ns.saturating_sub(log_way.down_ns));
    log_way.shipped_bytes = whole(log_rate * made);
    let pages = sample.dirty.map(|dirty| {
        let memory = dirty.watched_pages as f64 * PAGE_BYTES;
        let rate = sample.per_second(dirty.bytes);
        let mut way = rounds(memory / link, rate / link, memory / link);
        way.bytes_per_second = rate;
        way.shipped_bytes = whole((seconds(way.total_ns) - policy::DEFAULT_FIXED.as_secs_f64()).max(0.0) * link);
        way
    });
    let sentence = sentence(&log_way, pages.as_ref(), bound, assumed, sample);
    Some(Prediction {
        link_bits_per_second: assumed.link_bits_per_second,
        replay_events_per_second: assumed.replay_events_per_second,
        log: log_way,
        pages,
        sentence,
    })
}

const PAGE_BYTES: f64 = 4096.0;

/// The rounds that begin with one of `first` seconds, each `factor` times the one before and never longer than `longest`.
fn rounds(first: f64, factor: f64, longest: f64) -> Way {
    let fixed = policy::DEFAULT_FIXED.as_secs_f64();
    let target = policy::DEFAULT_DOWN_TIME_TARGET.as_secs_f64();
    let (mut round, mut total, mut count) = (first.min(longest), 0.0, 1);
    while round + fixed > target && count < policy::DEFAULT_MAX_ROUNDS {
        total += round;
        round = (round * factor).min(longest);
        count += 1;
    }
    let down = round + fixed;
    Way {
        bytes_per_second: 0.0,
        converges: factor < 1.0 || down <= target,
        rounds: count,
        down_ns: whole(down * 1e9),
        total_ns: whole((total + down) * 1e9),
        shipped_bytes: 0,
    }
}

/// For people: what each way needs, and how it ends on this link.
fn sentence(log: &Way, pages: Option<&Way>, bound: Bound, assumed: &Assumptions, sample: &Sample) -> String {
    let link = link_name(assumed.link_bits_per_second);
    let ending = |way: &Way| {
        let (down, total) = (duration(way.down_ns), duration(way.total_ns));
        let rounds = if way.rounds == 1 { "1 round".to_owned() } else { format!("{} rounds", way.rounds) };
        format!("{rounds}, {down} down, {total} in all")
    };
    let log_ends = match (log.converges, bound) {
        (true, _) => format!("shipping the log converges ({})", ending(log)),
        (false, Bound::Link) => "shipping the log does not converge: the link is too slow".to_owned(),
        (false, Bound::Replay) => format!(
            "shipping the log does not converge: the replica takes {} events/s and {:.0} are made",
            assumed.replay_events_per_second,
            sample.per_second(sample.total.events)
        ),
    };
    let log_needs = format!("the log needs {}", rate(log.bytes_per_second));
    match pages {
        None => format!("{log_needs}: on a link of {link} {log_ends}"),
        Some(pages) => {
            let pages_end = if pages.converges {
                format!("page copying converges ({})", ending(pages))
            } else {
                "page copying does not converge".to_owned()
            };
            let needs = rate(pages.bytes_per_second);
            format!("{log_needs}, dirty pages {needs}: on a link of {link} {pages_end}, {log_ends}")
        }
    }
}

/// `0.9 MB/s`: as links are counted, in powers of ten.
fn rate(bytes_per_second: f64) -> String {
    match bytes_per_second {
        ..100.0 => format!("{bytes_per_second:.0} B/s"),
        ..100_000.0 => format!("{:.1} kB/s", bytes_per_second / 1e3),
        ..10_000_000.0 => format!("{:.1} MB/s", bytes_per_second / 1e6),
        _ => format!("{:.0} MB/s", bytes_per_second / 1e6),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn link_name(bits_per_second: u64) -> String {
    let bits = bits_per_second as f64;
    match bits_per_second {
        0..1_000_000 => format!("{} kbit/s", bits / 1e3),
        1_000_000..1_000_000_000 => format!("{} Mbit/s", bits / 1e6),
        _ => format!("{} Gbit/s", bits / 1e9),
    }
}

fn duration(ns: u64) -> String {
    let seconds = seconds(ns);
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Saturates: a prediction that is out of bounds is a large number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and an estimate is never negative")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Bits a second of `1gbit`, `100mbit`, `2.5gbit/s`, `64000` (bits).
///
/// # Errors
/// What the text should look like.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be positive and below u64::MAX")]
pub fn parse_link(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix("/s").unwrap_or(&lower);
    let plain = plain.strip_suffix("bit").unwrap_or(plain);
    let (number, unit) = match plain.strip_suffix(['k', 'm', 'g']) {
        Some(number) => (number, &plain[number.len()..]),
        None => (plain, ""),
    };
    let factor = match unit {
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        _ => 1.0,
    };
    match number.parse::<f64>() {
        Ok(number) if number * factor >= 1.0 && number * factor < 1e18 => Ok((number * factor) as u64),
        _ => Err(format!("{text:?} is no link speed: write 1gbit, 100mbit or 2.5gbit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::sample::{Amounts, Dirty, LogBytes};

    const GIGABIT: Assumptions = Assumptions::of_link(1_000_000_000);

    fn sample(events: u64, zstd_bytes: u64, dirty: Option<(u64, u64)>) -> Sample {
        let log = LogBytes { zstd_bytes, ..LogBytes::default() };
        Sample {
            interval_ns: 1_000_000_000,
            total: Amounts { events, input_bytes: 0, log: Some(log) },
            dirty: dirty.map(|(pages, watched_pages)| Dirty { pages, bytes: pages * 4096, watched_pages, ..Dirty::default() }),
            ..Sample::default()
        }
    }

    #[test]
    fn rounds_shrink_geometrically_until_one_fits_the_down_time() {
        // Replay takes a tenth of the time: 60 s of log in 6 s, then 0.6, then 0.06 standing still.
        let way = predict(&sample(5000, 100, None), &GIGABIT).unwrap().log;
        assert!(way.converges);
        assert_eq!((way.rounds, way.down_ns, way.total_ns), (3, 110_000_000, 6_710_000_000));
        assert_eq!(way.shipped_bytes, 6660, "the log of a minute, and of the 6.6 s until the last round");
    }

    #[test]
    fn a_log_that_is_made_faster_than_it_is_replayed_does_not_converge_whatever_the_link() {
        let prediction = predict(&sample(60_000, 100, None), &GIGABIT).unwrap();
        assert!(!prediction.log.converges);
        assert_eq!(prediction.log.rounds, policy::DEFAULT_MAX_ROUNDS);
        let text = prediction.sentence;
        assert!(text.ends_with("does not converge: the replica takes 50000 events/s and 60000 are made"), "{text}");
        let faster = Assumptions { replay_events_per_second: 600_000, ..GIGABIT };
        assert!(predict(&sample(60_000, 100, None), &faster).unwrap().log.converges);
    }

    #[test]
    fn a_log_that_the_link_does_not_carry_does_not_converge() {
        let prediction = predict(&sample(100, 200_000_000, None), &GIGABIT).unwrap();
        assert!(!prediction.log.converges && prediction.sentence.ends_with("the link is too slow"), "{prediction:?}");
    }

    #[test]
    fn the_sentence_sets_the_log_beside_the_dirty_pages() {
        let prediction = predict(&sample(5000, 900_000, Some((51_270, 61_440))), &GIGABIT).unwrap();
        let text = "the log needs 0.9 MB/s, dirty pages 210 MB/s: on a link of 1 Gbit/s page copying does not converge, \
                    shipping the log converges (3 rounds, 110 ms down, 6.7 s in all)";
        assert_eq!(prediction.sentence, text);
        let pages = prediction.pages.unwrap();
        assert!(!pages.converges);
        // All of memory, 30 times over.
        assert_eq!(pages.shipped_bytes / (61_440 * 4096), 30);
    }

    #[test]
    fn pages_that_are_seldom_written_converge() {
        let pages = predict(&sample(1, 1, Some((1000, 61_440))), &GIGABIT).unwrap().pages.unwrap();
        // 252 MB in 2.01 s, then 8.2 MB in 66 ms.
        assert!(pages.converges);
        assert_eq!((pages.rounds, pages.down_ns / 1_000_000, pages.total_ns / 10_000_000), (2, 115, 212));
    }

    #[test]
    fn an_idle_container_moves_in_one_round_and_a_count_predicts_nothing() {
        let way = predict(&sample(0, 0, Some((0, 0))), &GIGABIT).unwrap();
        assert_eq!((way.log.rounds, way.log.converges, way.pages.unwrap().rounds), (1, true, 1));
        let counted = Sample { total: Amounts::default(), ..sample(1, 1, None) };
        assert_eq!(predict(&counted, &GIGABIT), None);
    }

    #[test]
    fn link_speeds_are_read_as_people_write_them() {
        let read: Vec<_> =
            ["1gbit", "100Mbit/s", "2.5gbit", "64000", "10kbit"].iter().map(|text| parse_link(text).unwrap()).collect();
        assert_eq!(read, [1_000_000_000, 100_000_000, 2_500_000_000, 64_000, 10_000]);
        for wrong in ["", "fast", "-1gbit", "0", "1tbit", "gbit"] {
            assert!(parse_link(wrong).unwrap_err().contains("1gbit"), "{wrong}");
        }
    }
}
