//! What a migration looked like from outside, and whether that is as promised.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    client::Report,
    workloads::{Load, Workload},
};

use super::{Phase, Plan};

/// One move of one workload.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    pub workload: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kill: Option<Phase>,
    /// Everything that is promised held.
    pub passed: bool,
    /// `migrate move` says that the container is on the target.
    pub moved: bool,
    /// Connections that were answered before the move and after it.
    pub connections: usize,
    pub resets: u64,
    pub failed_requests: u64,
    pub wrong_bodies: u64,
    pub refused: u64,
    pub new_connections: u64,
    pub requests: u64,
    /// Freeze of the source to resume of the target, as `migrate move` measured it.
    pub down_ms: f64,
    /// The longest time that a client waited for an answer on a connection that stays.
    pub client_pause_ms: f64,
    /// The same for connections that are opened all the time; TCP sends the packet that opens one again after a second.
    pub new_connection_pause_ms: f64,
    /// Command accepted to target live.
    pub total_ms: f64,
    pub rounds: usize,
    /// How often the source was frozen.
    pub cut_over_tries: u64,
    pub log_bytes: u64,
    pub log_bytes_compressed: u64,
    pub image_bytes: u64,
    pub pages_compared: Option<u64>,
    /// Of these, pages that were hashed while the source was frozen.
    pub pages_hashed: Option<u64>,
    pub pages_differing: Option<u64>,
    /// What they are of.
    pub differing_by_kind: BTreeMap<String, u64>,
    pub differing_at: Vec<String>,
    /// Of those, pages that a correct replay does not explain. They are mended all the same.
    pub pages_unexplained: u64,
    pub tasks_taken: u64,
    /// The parts of the down time, in microseconds.
    pub down_us: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub book: Option<Book>,
    /// What only this load's clients count, and what they found that must not be.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counted: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub violations: BTreeMap<String, u64>,
    /// The copy on h1 runs.
    pub source_alive: bool,
    /// Where a copy runs; exactly one is right.
    pub live_on: Vec<String>,
    /// What `migrate ps` of each host says of the container after a kill.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ps: Vec<String>,
    /// Why the first `migrate move` did not move it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// A second `migrate move`, after the agent was started again, moved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_move: Option<bool>,
    pub warnings: Vec<String>,
    /// What was not as promised.
    pub failures: Vec<String>,
}

/// What the guest book's clients found.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Book {
    pub posts: u64,
    pub posts_lost: u64,
    pub posts_invented: u64,
    pub sessions_lost: u64,
}

/// How `migrate move` ended.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    pub success: bool,
    /// The last line of standard output, when it is JSON.
    pub report: Value,
    /// What it said to people.
    pub says: String,
}

impl Outcome {
    /// A migration of which we could not find out how it went.
    pub fn broken(plan: &Plan, why: String) -> Self {
        Self { workload: plan.workload.name, kill: plan.kill, failures: vec![why], ..Self::default() }
    }

    /// Takes over what `migrate move` reports.
    pub fn take_move(&mut self, attempt: &Attempt) {
        let report = &attempt.report;
        let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a migration fit 52 bits")]
        let ms = |path: &str| number(path) as f64 / 1e3;
        self.moved = attempt.success && report["moved"] == true;
        self.refusal = (!self.moved).then(|| attempt.says.clone());
        self.down_ms = ms("/down/total_us");
        self.total_ms = ms("/total_us");
        self.rounds = report["rounds"].as_array().map_or(0, Vec::len);
        self.cut_over_tries = number("/cut_over_tries");
        self.log_bytes = number("/log_bytes");
        self.log_bytes_compressed = number("/log_bytes_compressed");
        self.image_bytes = number("/image_bytes");
        self.pages_compared = report["pages_compared"].as_u64();
        self.pages_hashed = report["pages_hashed"].as_u64();
        self.pages_differing = report["pages_differing"].as_u64();
        let kinds = report["differing_by_kind"].as_object().into_iter().flatten();
        self.differing_by_kind = kinds.map(|(kind, pages)| (kind.clone(), pages.as_u64().unwrap_or(0))).collect();
        self.differing_at = strings(&report["differing_at"]);
        self.pages_unexplained = self.unexplained();
        self.tasks_taken = number("/tasks_taken");
        let down = report["down"].as_object().into_iter().flatten();
        self.down_us = down.map(|(part, us)| (part.trim_end_matches("_us").to_owned(), us.as_u64().unwrap_or(0))).collect();
        self.warnings = strings(&report["warnings"]);
    }

    /// Pages that differed and that a correct replay does not explain.
    fn unexplained(&self) -> u64 {
        self.differing_by_kind.iter().filter(|(kind, _)| ["heap", "other"].contains(&kind.as_str())).map(|(_, pages)| pages).sum()
    }

    /// Takes over what the clients counted.
    pub fn take_report(&mut self, workload: &Workload, report: Report) {
        self.connections = report.connections;
        self.resets = report.resets;
        self.failed_requests = report.failed_requests;
        self.wrong_bodies = report.wrong_bodies;
        self.refused = report.refused;
        self.new_connections = report.new_connections;
        self.requests = report.requests;
        self.client_pause_ms = report.pause_ms;
        self.new_connection_pause_ms = report.new_connection_pause_ms;
        if matches!(workload.load, Load::Book { .. }) {
            let Report { posts, posts_lost, posts_invented, sessions_lost, .. } = report;
            self.book = Some(Book { posts, posts_lost, posts_invented, sessions_lost });
        }
        self.counted.clone_from(&report.counted);
        self.violations.clone_from(&report.violations);
        if !report.clean() {
            self.failures.extend(report.messages);
        }
    }

    /// Keeps a failure.
    pub fn note(&mut self, result: Result<(), String>) {
        self.failures.extend(result.err());
    }

    /// Compares with what is promised.
    pub fn judge(&mut self, plan: &Plan) {
        let wanted = match plan.workload.load {
            Load::None => 0,
            Load::Web { connections, .. } => connections,
            Load::Book { sessions, .. } | Load::Ledger { sessions, .. } => sessions,
            Load::Redis { clients, .. } => clients,
        };
        let mut promise = |held: bool, what: String| {
            if !held {
                self.failures.push(what);
            }
        };
        let refusal = self.refusal.clone().unwrap_or_default();
        match plan.kill {
            // A load that the replica cannot follow is refused with a reason, and the source is left alone.
            None if plan.stay => promise(self.live_on == ["h1"], format!("live copies on {:?}", self.live_on)),
            None if plan.unlimited => promise(self.moved || !refusal.is_empty(), "move neither moved nor said why".to_string()),
            None => promise(self.moved, format!("not moved: {refusal}")),
            Some(phase) if phase.before_go() => {
                promise(self.second_move == Some(true), format!("the second move did not move: {refusal}"));
            }
            Some(_) => {}
        }
        promise(self.connections == wanted, format!("{} of {wanted} connections went on", self.connections));
        promise(self.live_on.len() == 1, format!("live copies on {:?}", self.live_on));
        promise(self.failed_requests == 0, format!("{} failed requests", self.failed_requests));
        promise(self.wrong_bodies == 0, format!("{} wrong bodies", self.wrong_bodies));
        promise(self.violations.is_empty(), format!("what was acknowledged is not so: {:?}", self.violations));
        if let Some(book) = self.book {
            promise(book.posts_lost + book.posts_invented + book.sessions_lost == 0, format!("the book is wrong: {book:?}"));
        }
        self.passed = self.failures.is_empty();
    }
}

/// The strings of an array.
fn strings(array: &Value) -> Vec<String> {
    array.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}

/// Several moves of one workload.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub workload: &'static str,
    pub runs: usize,
    pub passed: usize,
    pub down_ms_median: f64,
    pub down_ms_max: f64,
    pub client_pause_ms_median: f64,
    pub total_ms_median: f64,
    pub failed_requests: u64,
    pub resets: u64,
    pub wrong_bodies: u64,
    /// The first failure of each run that failed.
    pub failures: Vec<String>,
}

impl Summary {
    pub fn of(workload: &'static str, outcomes: &[Outcome]) -> Self {
        let sorted = |field: fn(&Outcome) -> f64| {
            let mut values: Vec<f64> = outcomes.iter().filter(|outcome| outcome.moved).map(field).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |field| {
            let values = sorted(field);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        Self {
            workload,
            runs: outcomes.len(),
            passed: outcomes.iter().filter(|outcome| outcome.passed).count(),
            down_ms_median: median(|outcome| outcome.down_ms),
            down_ms_max: sorted(|outcome| outcome.down_ms).last().copied().unwrap_or(0.0),
            client_pause_ms_median: median(|outcome| outcome.client_pause_ms),
            total_ms_median: median(|outcome| outcome.total_ms),
            failed_requests: outcomes.iter().map(|outcome| outcome.failed_requests).sum(),
            resets: outcomes.iter().map(|outcome| outcome.resets).sum(),
            wrong_bodies: outcomes.iter().map(|outcome| outcome.wrong_bodies).sum(),
            failures: outcomes.iter().filter_map(|outcome| outcome.failures.first().cloned()).collect(),
        }
    }
}
