//! Clients of Redis that SET, GET and INCR, each over one connection, beside a large amount of data that is there from the start.
//! At the end every key is read, and `DEBUG DIGEST` is compared with what the clients' books say.

mod books;
mod digest;
mod protocol;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{Common, Report, control::Control, http::RequestError, tally::Tally};
use books::{Book, SHARED, Wrongs};
use digest::Dataset;
use protocol::{Connection, Reply};

/// Bytes of each value of the data that is there from the start.
const VALUE_BYTES: usize = 100 * 1024;
const DATA: &str = "data";

#[derive(Debug, Clone, Copy)]
pub struct RedisOptions {
    pub common: Common,
    pub clients: usize,
    /// Of all clients together.
    pub requests_per_s: u32,
    /// Megabytes (2^20) of data that the server makes at the start, by one command.
    pub data_mib: usize,
    /// Stop by itself after this time.
    pub limit: Option<Duration>,
}

impl RedisOptions {
    fn values(&self) -> usize {
        self.data_mib * 1024 * 1024 / VALUE_BYTES
    }
}

/// Runs until told to stop, compares everything, and reports.
pub fn run(options: &RedisOptions) -> Report {
    let (control, tally) = (Control::new(options.clients), Arc::new(Tally::default()));
    let options = *options;
    if let Err(error) = populate(&options) {
        tally.failed("the data", &error);
    }
    let threads: Vec<_> = (0..options.clients)
        .map(|member| {
            let (control, tally) = (control.clone(), tally.clone());
            thread::spawn(move || {
                let mut book = Book::new(member);
                if let Err(error) = attend(&options, &mut book, &control, &tally) {
                    tally.failed(&format!("client {member}"), &error);
                    control.lost(member);
                }
                book
            })
        })
        .collect();
    control.conduct(options.limit);
    let connections = control.served_since_mark();
    let books: Vec<Book> = threads.into_iter().map(|thread| thread.join().expect("a client thread panicked")).collect();
    let end = settle(&options, &books, &tally).unwrap_or_else(|error| {
        tally.failed("the comparison at the end", &error);
        End::default()
    });
    let sum = |field: fn(&Book) -> u64| books.iter().map(field).sum::<u64>();
    let wrongs = books.iter().map(|book| book.wrongs).fold(end.wrongs, |sum, wrongs| Wrongs {
        writes_missing: sum.writes_missing + wrongs.writes_missing,
        increments_lost: sum.increments_lost + wrongs.increments_lost,
        increments_doubled: sum.increments_doubled + wrongs.increments_doubled,
    });
    let mut report = Report { connections, ..tally.report() };
    report.count("writes", sum(|book| book.writes));
    report.count("increments", sum(|book| book.increments));
    report.count("keys_compared", end.keys);
    report.count("digests_compared", end.digests);
    report.violated("writes_missing", wrongs.writes_missing);
    report.violated("increments_lost", wrongs.increments_lost);
    report.violated("increments_doubled", wrongs.increments_doubled);
    report.violated("digests_differing", end.digests_differing);
    report
}

/// Lets the server make the data. A value is its number and zeros.
fn populate(options: &RedisOptions) -> Result<(), RequestError> {
    let mut connection = Connection::open(options.common.server, options.common.timeout)?;
    let (count, bytes) = (options.values().to_string(), VALUE_BYTES.to_string());
    match connection.ask(&[b"DEBUG", b"POPULATE", count.as_bytes(), DATA.as_bytes(), bytes.as_bytes()])? {
        Reply::Text(text) if text == "OK" => Ok(()),
        _ => Err(RequestError::Malformed("DEBUG POPULATE was refused")),
    }
}

/// One connection that stays.
fn attend(options: &RedisOptions, book: &mut Book, control: &Control, tally: &Tally) -> Result<(), RequestError> {
    let member = book.member();
    let mut connection = Connection::open(options.common.server, options.common.timeout)?;
    let members = u32::try_from(options.clients).unwrap_or(u32::MAX);
    let interval = Duration::from_secs(1) * members / options.requests_per_s.max(1);
    let mut next = Instant::now() + interval * u32::try_from(member).unwrap_or(0) / members;
    let mut turn = 0_u64;
    while control.sleep_until(next) {
        let (mark, sent) = (control.current_mark(), Instant::now());
        let (what, right) = request(book, &mut connection, turn)?;
        if right {
            tally.answered(sent.elapsed());
            control.served(member, mark);
        } else {
            tally.wrong(format!("client {member}, turn {turn}: a wrong answer to {what}"));
        }
        turn += 1;
        next = (next + interval).max(Instant::now());
    }
    Ok(())
}

/// One request: what it was, and whether its answer is right.
fn request(book: &mut Book, connection: &mut Connection, turn: u64) -> Result<(&'static str, bool), RequestError> {
    let key = book.key(turn / 4);
    Ok(match turn % 4 {
        0 => {
            let value = book.value(turn);
            book.open = true;
            let reply = connection.ask(&[b"SET", key.as_bytes(), &value])?;
            ("SET", book.set(key, value, &reply))
        }
        1 => {
            let reply = connection.ask(&[b"GET", key.as_bytes()])?;
            ("GET", book.get(&key, &reply))
        }
        2 => {
            book.open = true;
            let reply = connection.ask(&[b"INCR", book.counter().as_bytes()])?;
            ("INCR of its own counter", book.increment(&reply))
        }
        _ => {
            book.open = true;
            let reply = connection.ask(&[b"INCR", SHARED.as_bytes()])?;
            ("INCR of the shared counter", book.increment_shared(&reply))
        }
    })
}

/// What the comparison at the end found.
#[derive(Debug, Default)]
struct End {
    wrongs: Wrongs,
    keys: u64,
    digests: u64,
    digests_differing: u64,
}

/// Reads every key of every book over a new connection, and compares the digests.
fn settle(options: &RedisOptions, books: &[Book], tally: &Tally) -> Result<End, RequestError> {
    let mut connection = Connection::open(options.common.server, options.common.timeout)?;
    let mut end = End::default();
    let open = books.iter().filter(|book| book.open).count() as u64;
    let shared = match connection.ask(&[b"GET", SHARED.as_bytes()])? {
        Reply::Bytes(bytes) => String::from_utf8_lossy(&bytes).parse().unwrap_or(0),
        _ => 0,
    };
    end.wrongs = books::settle(books.iter().flat_map(|book| book.shared.iter().copied()), shared, open);
    for (key, value) in books.iter().filter(|book| !book.open).flat_map(Book::contents) {
        end.keys += 1;
        if connection.ask(&[b"GET", key.as_bytes()])? != Reply::Bytes(value) {
            end.wrongs.writes_missing += 1;
            tally.message(format!("{key} does not have the value that was acknowledged last"));
        }
    }
    if open == 0 {
        let wanted = expected(options, books, shared);
        let Reply::Text(found) = connection.ask(&[b"DEBUG", b"DIGEST"])? else {
            return Err(RequestError::Malformed("DEBUG DIGEST was refused"));
        };
        end.digests = 1;
        if found != wanted {
            end.digests_differing = 1;
            tally.message(format!("the digest of all data is {found} instead of {wanted}"));
        }
    }
    Ok(end)
}

/// What `DEBUG DIGEST` must answer.
fn expected(options: &RedisOptions, books: &[Book], shared: i64) -> String {
    let mut dataset = Dataset::new();
    for number in 0..options.values() {
        let mut value = format!("value:{number}").into_bytes();
        value.resize(VALUE_BYTES, 0);
        dataset.string(format!("{DATA}:{number}").as_bytes(), &value);
    }
    books.iter().for_each(|book| book.digest(&mut dataset));
    if shared > 0 {
        dataset.string(SHARED.as_bytes(), shared.to_string().as_bytes());
    }
    dataset.text()
}
