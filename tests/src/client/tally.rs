//! What clients count.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::http::RequestError;

/// Messages of failures that are kept for the report.
const MESSAGES_MAX: usize = 5;

/// Counters that all connections of a client share.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    requests: AtomicU64,
    failed: AtomicU64,
    resets: AtomicU64,
    refused: AtomicU64,
    timeouts: AtomicU64,
    wrong: AtomicU64,
    new_connections: AtomicU64,
    details: Mutex<Details>,
}

#[derive(Debug, Default)]
struct Details {
    latencies_us: Vec<u32>,
    messages: Vec<String>,
    slowest: Duration,
    slowest_at: Duration,
    slowest_new: Duration,
}

/// What a client reports at its end. Counts are over the whole run unless their name says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Connections (or sessions) that were opened at the start and answered before the last mark and after it.
    pub connections: usize,
    /// Requests with a complete and correct answer.
    pub requests: u64,
    /// Requests without a complete answer, for whatever reason.
    pub failed_requests: u64,
    /// Connections that the other side reset or closed.
    pub resets: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Requests or connections without an answer in time.
    pub timeouts: u64,
    /// Complete answers with the wrong status or content.
    pub wrong_bodies: u64,
    /// Connections opened, used once and closed, beside the ones that stay.
    pub new_connections: u64,
    /// The longest time that any request on a connection that stays took, and when it ended after the start.
    pub pause_ms: f64,
    pub pause_at_ms: f64,
    /// The longest time from opening a new connection to its answer.
    pub new_connection_pause_ms: f64,
    pub latency_p50_ms: f64,
    pub latency_p99_ms: f64,
    pub duration_ms: f64,
    /// Acknowledged posts, and how many of them are not there afterwards (guest book only).
    #[serde(default)]
    pub posts: u64,
    #[serde(default)]
    pub posts_lost: u64,
    /// Entries that nobody posted, or that are there twice (guest book only).
    #[serde(default)]
    pub posts_invented: u64,
    /// Sessions that were unknown or had a wrong count at any time (guest book only).
    #[serde(default)]
    pub sessions_lost: u64,
    /// What the client counted beside requests: acknowledged writes, entries, keys that were compared …
    #[serde(default)]
    pub counted: BTreeMap<String, u64>,
    /// What must not be, by name; only what was found.
    #[serde(default)]
    pub violations: BTreeMap<String, u64>,
    /// The first failures in words.
    pub messages: Vec<String>,
}

impl Report {
    /// Whether no client noticed anything but time.
    pub fn clean(&self) -> bool {
        self.failed_requests + self.resets + self.refused + self.timeouts + self.wrong_bodies == 0
            && self.posts_lost + self.posts_invented + self.sessions_lost == 0
            && self.violations.is_empty()
    }

    /// Adds a number that only this kind of client has.
    pub fn count(&mut self, what: &str, number: u64) {
        *self.counted.entry(what.to_string()).or_default() += number;
    }

    /// Adds to what must not be.
    pub fn violated(&mut self, what: &str, number: u64) {
        if number > 0 {
            *self.violations.entry(what.to_string()).or_default() += number;
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            new_connections: AtomicU64::new(0),
            details: Mutex::default(),
        }
    }
}

impl Tally {
    /// A request was answered completely and correctly.
    pub fn answered(&self, latency: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut details = self.details.lock().expect("no holder panics");
        details.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        if latency > details.slowest {
            details.slowest = latency;
            details.slowest_at = self.started.elapsed();
        }
    }

    /// A request, or a connection for one, failed.
    pub fn failed(&self, who: &str, error: &RequestError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        match error {
            RequestError::Reset(_) => &self.resets,
            RequestError::Refused => &self.refused,
            RequestError::Timeout => &self.timeouts,
            RequestError::Malformed(_) => &self.wrong,
            RequestError::Io(_) => &self.failed,
        }
        .fetch_add(u64::from(!matches!(error, RequestError::Io(_))), Ordering::Relaxed);
        self.message(format!("{who}: {error}"));
    }

    /// An answer was complete but wrong.
    pub fn wrong(&self, message: String) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.message(message);
    }

    /// A connection was opened, answered correctly and closed. Its time is kept apart: a packet that opens a connection is sent
    /// again only after a second, so it would hide how long the others waited.
    pub fn came_and_went(&self, latency: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.new_connections.fetch_add(1, Ordering::Relaxed);
        let mut details = self.details.lock().expect("no holder panics");
        details.slowest_new = details.slowest_new.max(latency);
    }

    /// Keeps the first few messages, each with its time.
    pub fn message(&self, message: String) {
        let at = self.started.elapsed().as_millis();
        let mut details = self.details.lock().expect("no holder panics");
        if details.messages.len() < MESSAGES_MAX {
            details.messages.push(format!("after {at} ms: {message}"));
        }
    }

    /// The report so far, without what only a particular client knows.
    pub fn report(&self) -> Report {
        let mut details = self.details.lock().expect("no holder panics");
        details.latencies_us.sort_unstable();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let at = |share: f64| {
            // Truncation only chooses the sample.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
            let index = (details.latencies_us.len() as f64 * share) as usize;
            details
                .latencies_us
                .get(index.min(details.latencies_us.len().saturating_sub(1)))
                .map_or(0.0, |us| f64::from(*us) / 1e3)
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Report {
            requests: count(&self.requests),
            failed_requests: count(&self.failed),
            resets: count(&self.resets),
            refused: count(&self.refused),
            timeouts: count(&self.timeouts),
            wrong_bodies: count(&self.wrong),
            new_connections: count(&self.new_connections),
            pause_ms: ms(details.slowest),
            pause_at_ms: ms(details.slowest_at),
            new_connection_pause_ms: ms(details.slowest_new),
            latency_p50_ms: at(0.5),
            latency_p99_ms: at(0.99),
            duration_ms: ms(self.started.elapsed()),
            messages: details.messages.clone(),
            ..Report::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_spoils_the_report() {
        let errors = [
            RequestError::Refused,
            RequestError::Timeout,
            RequestError::Reset(std::io::ErrorKind::ConnectionReset.into()),
            RequestError::Malformed("x"),
            RequestError::Io(std::io::ErrorKind::Other.into()),
        ];
        assert!(Tally::default().report().clean());
        for error in errors {
            let tally = Tally::default();
            tally.failed("x", &error);
            let report = tally.report();
            assert!(!report.clean() && report.failed_requests == 1, "{error}");
        }
        let tally = Tally::default();
        tally.wrong("x".to_string());
        assert!(!tally.report().clean());
    }

    #[test]
    fn a_violation_spoils_the_report_and_a_count_does_not() {
        let mut report = Report::default();
        report.count("writes", 5);
        report.violated("writes_missing", 0);
        assert!(report.clean());
        report.violated("writes_missing", 1);
        assert!(!report.clean());
    }

    #[test]
    fn the_pause_is_the_slowest_request() {
        let tally = Tally::default();
        for ms in [1, 250, 3] {
            tally.answered(Duration::from_millis(ms));
        }
        let report = tally.report();
        assert_eq!((report.requests, report.pause_ms, report.latency_p50_ms), (3, 250.0, 3.0));
    }
}
