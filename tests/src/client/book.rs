//! Sessions that post to the guest book and read it, each over one connection. Every acknowledged post is remembered, and at the
//! end the book must hold exactly these.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Common, Report,
    control::Control,
    http::{Connection, RequestError, Response},
    tally::Tally,
};

#[derive(Debug, Clone, Copy)]
pub struct BookOptions {
    pub common: Common,
    pub sessions: usize,
    /// Of all sessions together.
    pub requests_per_s: u32,
    /// Stop by itself after this time.
    pub limit: Option<Duration>,
}

/// What became of one session.
#[derive(Debug, Default)]
struct Outcome {
    posts: u64,
    lost: u64,
    invented: u64,
    broken: bool,
}

/// Runs until told to stop, checks the book, and reports.
pub fn run(options: &BookOptions) -> Report {
    let control = Control::new(options.sessions);
    let tally = Arc::new(Tally::default());
    let options = *options;
    let threads: Vec<_> = (0..options.sessions)
        .map(|member| {
            let (control, tally) = (control.clone(), tally.clone());
            thread::spawn(move || {
                let mut session = Session { member, posted: Vec::new(), open: None, outcome: Outcome::default() };
                if let Err(error) = session.attend(&options, &control, &tally) {
                    tally.failed(&format!("session {member}"), &error);
                    control.lost(member);
                    session.outcome.broken = true;
                }
                session.outcome
            })
        })
        .collect();
    control.conduct(options.limit);
    let connections = control.served_since_mark();
    let outcomes: Vec<Outcome> = threads.into_iter().map(|thread| thread.join().expect("a client thread panicked")).collect();
    let sum = |field: fn(&Outcome) -> u64| outcomes.iter().map(field).sum();
    Report {
        connections,
        posts: sum(|outcome| outcome.posts),
        posts_lost: sum(|outcome| outcome.lost),
        posts_invented: sum(|outcome| outcome.invented),
        sessions_lost: sum(|outcome| u64::from(outcome.broken)),
        ..tally.report()
    }
}

struct Session {
    member: usize,
    /// Tokens of acknowledged posts, in order.
    posted: Vec<String>,
    /// A post without an answer: it may be there or not.
    open: Option<String>,
    outcome: Outcome,
}

impl Session {
    fn attend(&mut self, options: &BookOptions, control: &Control, tally: &Tally) -> Result<(), RequestError> {
        let mut connection = Connection::open(options.common.server, options.common.timeout)?;
        let name = format!("guest {}", self.member);
        let login = connection.request("POST", "/login", &[], json!({ "name": name }).to_string().as_bytes())?;
        let cookie = login.header("set-cookie").and_then(|text| text.split(';').next()).unwrap_or_default().to_string();
        let headers = [("Cookie", cookie.as_str())];

        let members = u32::try_from(options.sessions).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1) * members / options.requests_per_s.max(1);
        let mut next = Instant::now() + interval * u32::try_from(self.member).unwrap_or(0) / members;
        let mut turn = 0_u64;
        while control.sleep_until(next) {
            let (mark, sent) = (control.current_mark(), Instant::now());
            let right = match turn % 4 {
                0 | 2 => self.post(&mut connection, &headers, turn, tally)?,
                1 => self.look(&connection.request("GET", "/session", &headers, b"")?, &name, tally),
                _ => self.list(&connection.request("GET", "/entries", &headers, b"")?, tally),
            };
            if right {
                tally.answered(sent.elapsed());
                control.served(self.member, mark);
            }
            turn += 1;
            next = (next + interval).max(Instant::now());
        }
        let last = connection.request("GET", "/entries", &headers, b"")?;
        self.list(&last, tally);
        self.settle(&last);
        Ok(())
    }

    /// A post is acknowledged with the number of this session's posts, which the server counts in memory.
    fn post(
        &mut self,
        connection: &mut Connection,
        headers: &[(&str, &str)],
        turn: u64,
        tally: &Tally,
    ) -> Result<bool, RequestError> {
        let token = format!("{}-{}-{turn}", std::process::id(), self.member);
        let body = json!({ "token": token, "text": "x".repeat(64) }).to_string();
        self.open = Some(token);
        let response = connection.request("POST", "/entries", headers, body.as_bytes())?;
        self.posted.extend(self.open.take());
        self.outcome.posts += 1;
        let count = parse(&response)["count"].as_u64();
        Ok(self.expect(response.status == 201 && count == Some(self.outcome.posts), "post", &response, tally))
    }

    fn look(&mut self, response: &Response, name: &str, tally: &Tally) -> bool {
        let state = parse(response);
        let right = state["count"].as_u64() == Some(self.outcome.posts) && state["name"].as_str() == Some(name);
        self.expect(response.status == 200 && right, "session", response, tally)
    }

    fn list(&mut self, response: &Response, tally: &Tally) -> bool {
        let right = tokens(response) == self.posted;
        self.expect(response.status == 200 && right, "entries", response, tally)
    }

    fn expect(&mut self, right: bool, what: &str, response: &Response, tally: &Tally) -> bool {
        if !right {
            let body = String::from_utf8_lossy(&response.body);
            let short: String = body.chars().take(200).collect();
            let (member, posts) = (self.member, self.outcome.posts);
            tally.wrong(format!("session {member}, {posts} posts: wrong {what} ({}): {short}", response.status));
            self.outcome.broken |= what == "session" || response.status == 401;
        }
        right
    }

    /// Compares the book with what was acknowledged.
    fn settle(&mut self, response: &Response) {
        let list = tokens(response);
        let there: BTreeSet<&String> = list.iter().collect();
        let mine: BTreeSet<&String> = self.posted.iter().collect();
        self.outcome.lost = mine.difference(&there).count() as u64;
        let unknown = there.difference(&mine).filter(|token| Some(**token) != self.open.as_ref()).count();
        self.outcome.invented = (unknown + list.len() - there.len()) as u64;
    }
}

fn parse(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or(Value::Null)
}

fn tokens(response: &Response) -> Vec<String> {
    let state = parse(response);
    state["tokens"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(posted: &[&str], open: Option<&str>, book: &[&str]) -> (u64, u64) {
        let posted = posted.iter().map(|token| (*token).to_string()).collect();
        let mut session = Session { member: 0, posted, open: open.map(str::to_string), outcome: Outcome::default() };
        let body = json!({ "tokens": book }).to_string().into_bytes();
        session.settle(&Response { status: 200, headers: Vec::new(), body });
        (session.outcome.lost, session.outcome.invented)
    }

    #[test]
    fn lost_and_invented_posts_are_told_apart() {
        assert_eq!(settled(&["a", "b"], None, &["a", "b"]), (0, 0));
        assert_eq!(settled(&["a", "b"], None, &["a"]), (1, 0));
        assert_eq!(settled(&["a", "b"], None, &["a", "b", "b"]), (0, 1));
        assert_eq!(settled(&["a"], None, &["a", "c"]), (0, 1));
    }

    #[test]
    fn a_post_without_an_answer_may_be_there_or_not() {
        assert_eq!(settled(&["a"], Some("b"), &["a", "b"]), (0, 0));
        assert_eq!(settled(&["a"], Some("b"), &["a"]), (0, 0));
    }
}
