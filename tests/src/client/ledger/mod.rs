//! Sessions that write into one ledger through a web server, each over one connection that stays, and compare every entry that they
//! were told of with all others at the end. Beside that they can get a file.

mod chain;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Common, Report,
    control::Control,
    http::{Connection, RequestError, Response},
    tally::Tally,
};
use crate::workloads;
use chain::{End, Entry, Wrongs};

/// The file that a session gets when it does not write.
const FILE: &str = "/file.bin";
/// Tokens of one session; a session that writes more often would repeat them, which harms nothing.
const TOKENS: u64 = 1_000_000;

#[derive(Debug, Clone, Copy)]
pub struct LedgerOptions<'a> {
    pub common: Common,
    pub sessions: usize,
    /// Of all sessions together.
    pub requests_per_s: u32,
    /// Where an entry is written: `PATH?TOKEN`. `PATH?end` tells the end.
    pub path: &'a str,
    /// Of so many requests one writes, the others get the file; 1: all write.
    pub write_every: u64,
    /// Stop by itself after this time.
    pub limit: Option<Duration>,
}

/// What one session was told.
#[derive(Debug, Default)]
struct Book {
    entries: Vec<Entry>,
    files: u64,
    /// An entry was asked for and never acknowledged.
    open: bool,
}

/// Runs until told to stop, checks the ledger, and reports.
pub fn run(options: &LedgerOptions<'_>) -> Report {
    let (control, tally) = (Control::new(options.sessions), Tally::default());
    let file: Arc<[u8]> = workloads::web_file().into();
    let books: Vec<Book> = thread::scope(|scope| {
        let (control, tally, file) = (&control, &tally, &file);
        let threads: Vec<_> = (0..options.sessions)
            .map(|member| {
                scope.spawn(move || {
                    let mut book = Book::default();
                    if let Err(error) = attend(options, member, &mut book, control, tally, file) {
                        tally.failed(&format!("session {member}"), &error);
                        control.lost(member);
                    }
                    book
                })
            })
            .collect();
        control.conduct(options.limit);
        threads.into_iter().map(|thread| thread.join().expect("a client thread panicked")).collect()
    });
    let connections = control.served_since_mark();
    let files = books.iter().map(|book| book.files).sum();
    let open = books.iter().filter(|book| book.open).count() as u64;
    let entries: Vec<Entry> = books.into_iter().flat_map(|book| book.entries).collect();
    let written = entries.len() as u64;
    let wrongs = end(options).map(|end| {
        if end.verdict != "ok" {
            tally.wrong(format!("the server says at the end: {}", end.verdict));
        }
        chain::settle(entries, &end, open)
    });
    let wrongs = wrongs.unwrap_or_else(|error| {
        tally.failed("the end", &error);
        Wrongs::default()
    });
    let mut report = Report { connections, ..tally.report() };
    report.count("entries", written);
    report.count("files", files);
    report.violated("entries_lost", wrongs.lost);
    report.violated("entries_doubled", wrongs.doubled);
    report.violated("entries_broken", wrongs.broken);
    report
}

/// One session over one connection.
fn attend(
    options: &LedgerOptions<'_>,
    member: usize,
    book: &mut Book,
    control: &Control,
    tally: &Tally,
    file: &[u8],
) -> Result<(), RequestError> {
    let mut connection = Connection::open(options.common.server, options.common.timeout)?;
    let members = u32::try_from(options.sessions).unwrap_or(u32::MAX);
    let interval = Duration::from_secs(1) * members / options.requests_per_s.max(1);
    let mut next = Instant::now() + interval * u32::try_from(member).unwrap_or(0) / members;
    // Sessions write in different turns.
    let mut turn = member as u64;
    while control.sleep_until(next) {
        let (mark, sent) = (control.current_mark(), Instant::now());
        let wrong = if turn.is_multiple_of(options.write_every) {
            write(options, &mut connection, book, member as u64 * TOKENS + turn % TOKENS)?
        } else {
            let response = connection.request("GET", FILE, &[], b"")?;
            book.files += 1;
            (response.status != 200 || response.body != file).then(|| format!("a wrong file: {}", short(&response)))
        };
        match wrong {
            None => {
                tally.answered(sent.elapsed());
                control.served(member, mark);
            }
            Some(wrong) => tally.wrong(format!("session {member}: {wrong}")),
        }
        turn += 1;
        next = (next + interval).max(Instant::now());
    }
    Ok(())
}

/// Writes one entry; what is wrong with the answer.
fn write(
    options: &LedgerOptions<'_>,
    connection: &mut Connection,
    book: &mut Book,
    token: u64,
) -> Result<Option<String>, RequestError> {
    book.open = true;
    let response = connection.request("GET", &format!("{}?{token}", options.path), &[], b"")?;
    let entry = std::str::from_utf8(&response.body).ok().and_then(Entry::parse).filter(|_| response.status == 200);
    let Some(entry) = entry else { return Ok(Some(format!("no entry: {}", short(&response)))) };
    book.open = false;
    book.entries.push(entry);
    Ok((entry.token != token || !entry.follows()).then(|| format!("a wrong entry for {token}: {entry:?}")))
}

/// The ledger's end by the server's word, over a new connection.
fn end(options: &LedgerOptions<'_>) -> Result<End, RequestError> {
    let mut connection = Connection::open(options.common.server, options.common.timeout)?;
    let response = connection.request("GET", &format!("{}?end", options.path), &[], b"")?;
    let end = std::str::from_utf8(&response.body).ok().and_then(End::parse).filter(|_| response.status == 200);
    end.ok_or(RequestError::Malformed("the server does not tell the ledger's end"))
}

fn short(response: &Response) -> String {
    let body: String = String::from_utf8_lossy(&response.body).chars().take(200).collect();
    format!("status {}, {} bytes: {body}", response.status, response.body.len())
}
